//! Bonks over one bidirectional stream to a bonker, each acknowledged.

mod secrets;
mod url;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proto::bonk::bonk_service_client::BonkServiceClient;
use proto::bonk::{Acknowledgement, BonkItem, Outcome, Severity, StreamBonksRequest};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use super::Sink;
use super::backoff::Backoff;
use crate::clock;
use crate::error_chain::chain;
use crate::escape;
use crate::incident::{Incident, Scope, sentence};
use crate::journal::Debts;
use crate::metrics::{Metrics, SinkCounts};
use secrets::SecretsError;
pub use secrets::{Contradiction, Secrets};
pub use url::BonkerUrl;

/// Given to connect, and to open the stream.
const CONNECT: Duration = Duration::from_secs(3);

/// An item that has waited longer is old news: a penguin need not be bonked for it.
const STALE: Duration = Duration::from_mins(5);

/// After a restart of the agent, too: then people have mostly seen what there was to see.
const OWED: Duration = Duration::from_secs(30);

/// Sent and not acknowledged yet; more wait in the sink's queue.
const IN_FLIGHT: usize = 16;

/// No acknowledgement for this long means that the other side hangs.
const SILENCE: Duration = Duration::from_secs(5);

/// A new bonk cuts the wait for the next attempt down to this: a storm of them makes no storm of attempts.
const AT_ONCE: Duration = Duration::from_millis(250);

/// A stream that lived for so long and ends in order has not failed.
const LIVED: Duration = Duration::from_secs(1);

/// A quiet peer is probed this often.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// The longest sentence sent, in bytes.
const SUMMARY_LEN: usize = 1024;

/// Starts the sink; it connects by itself, and again after every break.
pub fn start(url: &BonkerUrl, secrets: Secrets, metrics: &Metrics, debts: Debts) -> Sink {
    let endpoint = url.endpoint();
    let tls = url.is_tls();
    Sink::start(url.sink(), OWED, metrics, |queue, counts| {
        let bonker = Bonker {
            endpoint,
            tls,
            secrets,
            queue,
            counts,
            debts,
            unanswered: VecDeque::new(),
        };
        bonker.run()
    })
}

struct Bonker {
    endpoint: Endpoint,
    tls: bool,
    /// Read anew for every connection, so that those that were rotated are taken up.
    secrets: Secrets,
    queue: mpsc::Receiver<Arc<Incident>>,
    counts: SinkCounts,
    debts: Debts,
    /// Offered and not acknowledged, oldest first; they are sent again on a new stream.
    unanswered: VecDeque<Arc<Incident>>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Secrets(SecretsError),
    #[error("cannot connect")]
    Connect(#[source] tonic::transport::Error),
    #[error("the stream broke: {} ({:?})", escape::terminal(escape::truncate(.0.message(), SUMMARY_LEN)), .0.code())]
    Stream(Status),
    #[error("the bonker ended the stream")]
    Ended,
    #[error("no answer within {0:?}")]
    Silent(Duration),
}

// === impl Bonker ===

impl Bonker {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut quiet = false;
        loop {
            let delivered = self.counts.delivered.get();
            let begun = Instant::now();
            let Err(broken) = self.stream(quiet).await else {
                return;
            };
            if self.counts.delivered.get() > delivered {
                backoff.reset();
            }
            // A bonker ends in order what was idle for long. What was just on its way then is
            // said again on the next stream; one that ends this, too, is a broken one.
            quiet = matches!(broken, Broken::Ended)
                && begun.elapsed() >= LIVED
                && (self.unanswered.is_empty() || !quiet);
            if quiet {
                backoff.reset();
                tracing::debug!(bonker = %self.endpoint.uri(), "the bonker ended a stream in order; opening a new one");
                continue;
            }
            self.drop_stale();
            let first = backoff.attempts() == 0;
            let wait = backoff.next(fastrand::f64());
            self.say(&broken, first, wait);
            if !self.wait(wait).await {
                return;
            }
        }
    }

    /// A break is said once; its retries are for who asks.
    fn say(&self, broken: &Broken, first: bool, wait: Duration) {
        let (bonker, error) = (self.endpoint.uri(), chain(broken));
        let (unanswered, retry_in) = (self.unanswered.len(), wait);
        if first {
            tracing::warn!(%bonker, %error, unanswered, "bonker not reached; trying on. Is `bonker-gpio serve` running there?");
        } else {
            tracing::debug!(%bonker, %error, unanswered, ?retry_in, "bonker still not reached");
        }
    }

    /// Waits for the time, or a moment after something new to say; false when there is nothing left to say.
    async fn wait(&mut self, time: Duration) -> bool {
        let start = Instant::now();
        let (mut until, mut open) = (start + time, true);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                more = self.queue.recv(), if open && self.unanswered.len() < IN_FLIGHT => match more {
                    Some(incident) => {
                        self.unanswered.push_back(incident);
                        until = until.min(start + AT_ONCE);
                    }
                    None if self.unanswered.is_empty() => return false,
                    None => open = false,
                },
            }
        }
    }

    /// One stream, until it breaks or there is nothing left to say; `again` after a quiet one.
    async fn stream(&mut self, again: bool) -> Result<(), Broken> {
        let silent = |_| Broken::Silent(CONNECT);
        let endpoint = match self.secrets.tls(self.tls).map_err(Broken::Secrets)? {
            Some(tls) => self
                .endpoint
                .clone()
                .tls_config(tls)
                .map_err(Broken::Connect)?,
            None => self.endpoint.clone(),
        };
        let token = self.secrets.token().map_err(Broken::Secrets)?;
        let channel: Channel = timeout(CONNECT, endpoint.connect())
            .await
            .map_err(silent)?
            .map_err(Broken::Connect)?;
        let (requests, outgoing) = mpsc::channel(IN_FLIGHT);
        for incident in self.unanswered.iter().take(IN_FLIGHT) {
            // The channel is as large as what is taken.
            let _room = requests.try_send(request(incident));
        }
        let mut client = BonkServiceClient::with_interceptor(channel, token);
        let mut answers = timeout(CONNECT, client.stream_bonks(ReceiverStream::new(outgoing)))
            .await
            .map_err(silent)?
            .map_err(Broken::Stream)?
            .into_inner();
        if again {
            tracing::debug!(bonker = %self.endpoint.uri(), "bonker reached again");
        } else {
            tracing::info!(bonker = %self.endpoint.uri(), "bonker reached");
        }
        loop {
            // A quiet stream is watched too, so that its end is known before the next kill.
            let patience = (!self.unanswered.is_empty()).then_some(SILENCE);
            tokio::select! {
                biased;
                answer = next(&mut answers, patience) => self.acknowledged(answer?),
                more = self.queue.recv(), if self.unanswered.len() < IN_FLIGHT => {
                    let Some(incident) = more else {
                        return self.drain(requests, answers).await;
                    };
                    self.unanswered.push_back(Arc::clone(&incident));
                    if requests.try_send(request(&incident)).is_err() {
                        return Err(Broken::Ended);
                    }
                }
            }
        }
    }

    async fn drain(
        &mut self,
        requests: mpsc::Sender<StreamBonksRequest>,
        mut answers: Streaming<proto::bonk::StreamBonksResponse>,
    ) -> Result<(), Broken> {
        while !self.unanswered.is_empty() {
            let answer = next(&mut answers, Some(SILENCE)).await?;
            self.acknowledged(answer);
        }
        drop(requests);
        Ok(())
    }

    fn acknowledged(&mut self, acknowledgement: Option<Acknowledgement>) {
        let Some(acknowledgement) = acknowledgement else {
            tracing::warn!("the bonker answered without an acknowledgement");
            return;
        };
        let position = self
            .unanswered
            .iter()
            .position(|incident| incident.id == acknowledgement.id);
        let Some(incident) = position.and_then(|position| self.unanswered.remove(position)) else {
            tracing::warn!(
                id = %escape::terminal(escape::truncate(&acknowledgement.id, 128)),
                "the bonker acknowledged what was not sent"
            );
            return;
        };
        self.debts.done(&incident.id);
        let now_ns = clock::monotonic_ns();
        let latency = Duration::from_nanos(now_ns.saturating_sub(incident.stamp_ns));
        let outcome = acknowledgement.outcome();
        let answer = escape::truncate(&acknowledgement.message, SUMMARY_LEN);
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let taken = matches!(
            outcome,
            Outcome::Accepted | Outcome::Duplicate | Outcome::Coalesced | Outcome::Quiet
        );
        if taken {
            self.counts.delivered(incident.stamp_ns, now_ns);
            tracing::info!(
                incident = incident.id,
                outcome = outcome.as_str_name(),
                latency_us,
                "bonk acknowledged"
            );
        } else {
            self.counts.failed.inc();
            tracing::warn!(
                incident = incident.id,
                outcome = outcome.as_str_name(),
                answer = %escape::terminal(answer),
                latency_us,
                "bonk not taken"
            );
        }
    }

    fn drop_stale(&mut self) {
        let now = clock::monotonic_ns();
        let before = self.unanswered.len();
        let debts = &self.debts;
        self.unanswered.retain(|incident| {
            let news = u128::from(now.saturating_sub(incident.stamp_ns)) < STALE.as_nanos();
            if !news {
                debts.done(&incident.id);
            }
            news
        });
        let dropped = before - self.unanswered.len();
        if dropped > 0 {
            self.counts.failed.inc_by(dropped as u64);
            tracing::warn!(dropped, "bonks given up: older than {STALE:?}");
        }
    }
}

/// The next answer; `patience` bounds the wait for it where one is due.
async fn next(
    answers: &mut Streaming<proto::bonk::StreamBonksResponse>,
    patience: Option<Duration>,
) -> Result<Option<Acknowledgement>, Broken> {
    let answer = match patience {
        Some(patience) => timeout(patience, answers.message())
            .await
            .map_err(|_| Broken::Silent(patience))?,
        None => answers.message().await,
    };
    match answer {
        Err(status) => Err(Broken::Stream(status)),
        Ok(None) => Err(Broken::Ended),
        Ok(Some(answer)) => Ok(answer.acknowledgement),
    }
}

/// A node that ran out of memory is worse than a container at its limit.
fn severity(scope: Scope) -> Severity {
    match scope {
        Scope::Node => Severity::Node,
        Scope::Container | Scope::Pod | Scope::Ancestor | Scope::Sysrq | Scope::Unknown => {
            Severity::Kill
        }
    }
}

fn request(incident: &Incident) -> StreamBonksRequest {
    let victim = incident.victims.first();
    let pod = victim.and_then(|victim| victim.pod.as_ref());
    let container = victim.and_then(|victim| victim.container.as_ref());
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    let summary = sentence(incident);
    StreamBonksRequest {
        item: Some(BonkItem {
            id: incident.id.clone(),
            time: Some(prost_types::Timestamp {
                seconds: incident.time.as_second(),
                nanos: incident.time.subsec_nanosecond(),
            }),
            source: "oom-agent".to_owned(),
            node: incident.node.clone(),
            namespace: text(pod.and_then(|pod| pod.namespace.as_ref())),
            pod: text(pod.and_then(|pod| pod.name.as_ref())),
            container: text(container.and_then(|container| container.name.as_ref())),
            comm: text(victim.and_then(|victim| victim.comm.as_ref())),
            summary: escape::truncate(&summary, SUMMARY_LEN).to_owned(),
            severity: severity(incident.scope).into(),
            ..BonkItem::default()
        }),
    }
}
