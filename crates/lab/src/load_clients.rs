//! Many clients of one bonker, each with a stream of its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use proto::bonk::bonk_service_client::BonkServiceClient;
use proto::bonk::{BonkItem, Outcome, Severity, StreamBonksRequest, StreamBonksResponse};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status, Streaming};
use xtask::process;

use crate::background;
use crate::wait::HANG;

/// So many connections are made at a time: a handshake has a deadline.
const AT_A_TIME: usize = 64;

/// How many clients come from one address: so many nodes behind each NAT.
const PER_ADDRESS: u32 = 50;

/// How many containers their bonks are of.
const CONTAINERS: u32 = 1000;

/// Their streams stay open until [`LoadClients::wait_for_end`].
#[derive(Debug)]
pub struct LoadClients {
    runtime: Runtime,
    clients: Vec<Client>,
}

/// The certificates that clients show and demand, PEM.
#[derive(Debug)]
pub struct Credentials {
    /// The CA's certificate.
    pub ca: String,
    /// The clients' certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// The answers to bonks.
#[derive(Debug, Default)]
pub struct Answers {
    /// How often each outcome was answered, each to the id that was sent last.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Answers that carried another id, or none.
    pub strange: u64,
    /// From each item to its answer, in nanoseconds.
    pub delays: Vec<u64>,
    /// From the first item to the last answer.
    pub took: Duration,
}

/// How the streams ended.
#[derive(Debug, Default)]
pub struct Ends {
    /// The server announced its shutdown.
    pub orderly: u64,
    /// More answers than items.
    pub surplus: u64,
    /// Everything else, and how often.
    pub broken: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Client {
    number: u32,
    sent: u32,
    items: mpsc::Sender<StreamBonksRequest>,
    answers: Streaming<StreamBonksResponse>,
}

// === impl Credentials ===

impl Credentials {
    /// What `bonker-gpio certs` of that program makes in `dir`, for a server at 127.0.0.1.
    pub fn create(program: &Path, dir: &Path) -> Result<Self> {
        let mut certs = Command::new(program);
        certs.arg("certs").arg("--dir").arg(dir);
        process::capture(certs.args(["--host", "127.0.0.1"]))?;
        let read = |name| {
            let path = dir.join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        Ok(Self {
            ca: read("ca.crt")?,
            cert: read("client.crt")?,
            key: read("client.key")?,
        })
    }
}

// === impl LoadClients ===

impl LoadClients {
    /// So many clients of the bonker at `url`, 50 of each address, `sharing` of which have a
    /// connection together.
    pub fn connect(
        url: &str,
        credentials: Option<&Credentials>,
        clients: u32,
        sharing: u32,
    ) -> Result<Self> {
        allow_files(u64::from(clients) + 1024)?;
        let runtime = background::runtime()?;
        let endpoint = endpoint(url, credentials)?;
        let clients = runtime.block_on(async {
            let mut all = Vec::new();
            let mut under_way = JoinSet::new();
            for first in (0..clients).step_by(sharing.max(1) as usize) {
                if under_way.len() >= AT_A_TIME {
                    all.extend(next(&mut under_way).await?.into_iter().flatten());
                }
                let endpoint = endpoint.clone().local_address(Some(address(first)));
                let numbers = first..clients.min(first.saturating_add(sharing.max(1)));
                under_way.spawn(Client::connect(numbers, endpoint));
            }
            while let Some(clients) = next(&mut under_way).await? {
                all.extend(clients);
            }
            anyhow::Ok(all)
        })?;
        Ok(Self { runtime, clients })
    }

    /// Every client sends `each`, spread over `within`, and waits for the answer to each.
    pub fn bonk(&mut self, each: u32, within: Duration) -> Result<Answers> {
        let clients = std::mem::take(&mut self.clients);
        let gap = within / each.saturating_mul(count(&clients)).max(1);
        let (clients, answers) = self.runtime.block_on(async {
            let start = Instant::now();
            let all = count(&clients);
            let mut under_way = JoinSet::new();
            for (place, client) in (0..).zip(clients) {
                let first = start + gap * place;
                under_way.spawn(client.bonk(each, first, gap * all));
            }
            let (mut clients, mut answers) = (Vec::new(), Answers::default());
            while let Some((client, more)) = next(&mut under_way).await? {
                clients.push(client);
                answers.add(more);
            }
            answers.took = start.elapsed();
            anyhow::Ok((clients, answers))
        })?;
        self.clients = clients;
        Ok(answers)
    }

    /// Waits until the server has ended every stream.
    pub fn wait_for_end(self) -> Result<Ends> {
        self.runtime.block_on(async {
            let mut under_way = JoinSet::new();
            for client in self.clients {
                under_way.spawn(async { anyhow::Ok(client.wait_for_end().await) });
            }
            let mut ends = Ends::default();
            while let Some((surplus, end)) = next(&mut under_way).await? {
                ends.surplus += surplus;
                match end {
                    Some(status) if is_shutdown(&status) => ends.orderly += 1,
                    other => {
                        let what = other.map_or_else(
                            || "no status".to_owned(),
                            |status| format!("{:?}: {}", status.code(), status.message()),
                        );
                        *ends.broken.entry(what).or_default() += 1;
                    }
                }
            }
            Ok(ends)
        })
    }
}

// === impl Answers ===

impl Answers {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.outcomes.values().sum()
    }

    fn add(&mut self, more: Self) {
        for (outcome, count) in more.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        self.strange += more.strange;
        self.delays.extend(more.delays);
    }
}

// === impl Client ===

impl Client {
    /// Those of one connection.
    async fn connect(numbers: Range<u32>, endpoint: Endpoint) -> Result<Vec<Self>> {
        let attempt = || format!("connect client {}", numbers.start);
        let channel = timeout(HANG, endpoint.connect()).await;
        let channel = channel.with_context(attempt)?.with_context(attempt)?;
        let mut all = Vec::new();
        for number in numbers.clone() {
            let (items, sent) = mpsc::channel(1);
            let mut client = BonkServiceClient::new(channel.clone());
            let stream = timeout(HANG, client.stream_bonks(ReceiverStream::new(sent))).await;
            let stream = stream.with_context(attempt)?.with_context(attempt)?;
            all.push(Self {
                number,
                sent: 0,
                items,
                answers: stream.into_inner(),
            });
        }
        Ok(all)
    }

    /// Sends the first at `first` and another after every `pause`.
    async fn bonk(mut self, each: u32, first: Instant, pause: Duration) -> Result<(Self, Answers)> {
        let mut answers = Answers::default();
        for n in 0..each {
            sleep_until(first + pause * n).await;
            let item = self.item();
            let id = item.id.clone();
            let attempt = || format!("an answer to {id}");
            let sent = Instant::now();
            let request = StreamBonksRequest { item: Some(item) };
            self.items.send(request).await.with_context(attempt)?;
            let answer = timeout(HANG, self.answers.message()).await;
            let answer = answer.with_context(attempt)?.with_context(attempt)?;
            let answer = answer.and_then(|answer| answer.acknowledgement);
            let delay = u64::try_from(sent.elapsed().as_nanos());
            answers.delays.push(delay.unwrap_or(u64::MAX));
            match answer {
                Some(answer) if answer.id == id => {
                    *answers.outcomes.entry(answer.outcome()).or_default() += 1;
                }
                _ => answers.strange += 1,
            }
        }
        Ok((self, answers))
    }

    fn item(&mut self) -> BonkItem {
        let (client, n) = (self.number, self.sent);
        self.sent += 1;
        let place = client.wrapping_add(n.wrapping_mul(7919)) % CONTAINERS;
        let severity = match place % 4 {
            0 => Severity::Warning,
            1 => Severity::Critical,
            2 => Severity::Kill,
            _ => Severity::Node,
        };
        BonkItem {
            id: format!("load-{client}-{n}"),
            source: "load".to_owned(),
            node: format!("node-{client}"),
            namespace: format!("team-{}", place % 20),
            pod: format!("pod-{place}"),
            container: "app".to_owned(),
            comm: "hog".to_owned(),
            summary: "a process of this container was killed at its limit".to_owned(),
            severity: severity.into(),
            ..BonkItem::default()
        }
    }

    /// How many more answers came, and the last status.
    async fn wait_for_end(mut self) -> (u64, Option<Status>) {
        let mut surplus = 0;
        loop {
            match timeout(HANG, self.answers.message()).await {
                Ok(Ok(Some(_))) => surplus += 1,
                Ok(Ok(None)) | Err(_) => return (surplus, None),
                Ok(Err(status)) => return (surplus, Some(status)),
            }
        }
    }
}

fn endpoint(url: &str, credentials: Option<&Credentials>) -> Result<Endpoint> {
    let endpoint = Endpoint::from_shared(url.to_owned()).with_context(|| format!("read {url}"))?;
    let Some(credentials) = credentials else {
        return Ok(endpoint);
    };
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&credentials.ca))
        .identity(Identity::from_pem(&credentials.cert, &credentials.key));
    endpoint
        .tls_config(tls)
        .context("use the clients' credentials")
}

/// 127.1.0.1 and on: the whole of 127.0.0.0/8 is this host.
fn address(client: u32) -> IpAddr {
    let [_, _, high, low] = (client / PER_ADDRESS + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 1, high, low))
}

/// The status of a server that ends in good order.
fn is_shutdown(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.message().contains("shutting down")
}

/// Has this process open so many files.
fn allow_files(files: u64) -> Result<()> {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    if now.maximum.is_some_and(|most| most < files) {
        bail!("{files} open files are needed: raise the hard limit (`ulimit -Hn {files}`)");
    }
    let wanted = Rlimit {
        current: Some(files),
        maximum: now.maximum,
    };
    setrlimit(Resource::Nofile, wanted).context("raise the limit of open files")
}

fn count(clients: &[Client]) -> u32 {
    u32::try_from(clients.len()).unwrap_or(u32::MAX)
}

/// What the next task to end has; none when all have ended.
async fn next<T: 'static>(tasks: &mut JoinSet<Result<T>>) -> Result<Option<T>> {
    let ended = tasks.join_next().await;
    ended.transpose().context("a client")?.transpose()
}
