//! A fake API server in this process: real HTTP on its own port.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use oom_capture::{Process, Rss, Trigger};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Cluster, Credentials, Recorder, find_credentials};
use crate::incident::{Container, History, Incident, Outcome, Pod, Scope, Victim};

pub(crate) const UID: &str = "a38c12e8-255a-11e9-8cd9-0007cb0b2cc8";

#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Method and target: `GET /api/v1/pods`.
    pub(crate) line: String,
    /// `null` without a body.
    pub(crate) body: Value,
}

/// Status, `Retry-After` and body.
pub(crate) type Answer = (u16, Option<u64>, Value);

/// Any answer.
pub(crate) struct Response {
    code: u16,
    retry_after: Option<u64>,
    text: String,
    /// A watch that stays open without further changes.
    open: bool,
}

/// Ends with the test's runtime.
pub(crate) struct Fake {
    requests: watch::Receiver<Vec<Request>>,
    kubeconfig: tempfile::NamedTempFile,
}

type Log = Arc<Mutex<watch::Sender<Vec<Request>>>>;

impl From<Answer> for Response {
    fn from((code, retry_after, body): Answer) -> Self {
        Self {
            retry_after,
            ..Self::json(code, &body)
        }
    }
}

// === impl Response ===

impl Response {
    pub(crate) fn json(code: u16, body: &Value) -> Self {
        Self {
            code,
            retry_after: None,
            text: body.to_string(),
            open: false,
        }
    }

    /// A refusal as the API server writes it.
    pub(crate) fn status(code: u16) -> Self {
        status(code).into()
    }

    /// A watch that ends after these changes.
    pub(crate) fn changes(changes: &[Value]) -> Self {
        let lines: Vec<String> = changes.iter().map(|change| format!("{change}\n")).collect();
        Self {
            text: lines.concat(),
            ..Self::json(200, &Value::Null)
        }
    }

    /// A watch that stays open after these changes.
    pub(crate) fn open(changes: &[Value]) -> Self {
        Self {
            open: true,
            ..Self::changes(changes)
        }
    }

    /// As a connection that breaks after `length` bytes.
    pub(crate) fn cut_to(mut self, length: usize) -> Self {
        self.text.truncate(length);
        self
    }
}

// === impl Fake ===

impl Fake {
    /// Calls `answer` for each request.
    pub(crate) async fn start<A: Into<Response> + 'static>(
        answer: impl FnMut(&Request) -> A + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut kubeconfig = tempfile::NamedTempFile::new().unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "t",
            "clusters": [{"name": "t", "cluster": {"server": server}}],
            "contexts": [{"name": "t", "context": {"cluster": "t", "user": "u", "namespace": "penguins"}}],
            "users": [{"name": "u", "user": {}}],
        });
        kubeconfig.write_all(config.to_string().as_bytes()).unwrap();
        let (log, requests) = watch::channel(Vec::new());
        let log: Log = Arc::new(Mutex::new(log));
        let answer = Arc::new(Mutex::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&log), Arc::clone(&answer)));
            }
        });
        Self {
            requests,
            kubeconfig,
        }
    }

    /// With the controller's client.
    pub(crate) async fn start_cluster(
        answer: impl FnMut(&Request) -> Response + Send + 'static,
    ) -> (Self, Cluster) {
        let fake = Self::start(answer).await;
        let cluster = Cluster::new(fake.credentials().await).unwrap();
        (fake, cluster)
    }

    async fn credentials(&self) -> Credentials {
        let found = find_credentials(Some(self.kubeconfig.path().to_owned())).await;
        found.unwrap().unwrap()
    }

    /// The agent's recorder, on `node-a`, with this server.
    pub(crate) async fn recorder(&self, use_node: bool) -> Recorder {
        let found = self.credentials().await;
        Recorder::new(found, "node-a".to_owned(), use_node).unwrap()
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.borrow().clone()
    }

    /// Waits until the requests satisfy `enough`.
    pub(crate) async fn wait_until(&mut self, enough: impl FnMut(&Vec<Request>) -> bool) {
        self.requests.wait_for(enough).await.unwrap();
    }

    /// The Events of the create requests, as `events.k8s.io/v1` shows them.
    pub(crate) fn events(&self) -> Vec<Value> {
        let requests = self.requests().into_iter();
        requests
            .filter(|request| request.line.starts_with("POST"))
            .map(|request| to_events_v1(request.body))
            .collect()
    }
}

fn to_events_v1(mut event: Value) -> Value {
    let fields = event.as_object_mut().unwrap();
    fields.insert("apiVersion".to_owned(), json!("events.k8s.io/v1"));
    for (core, new) in [
        ("involvedObject", "regarding"),
        ("message", "note"),
        ("reportingComponent", "reportingController"),
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"),
        ("count", "deprecatedCount"),
        ("source", "deprecatedSource"),
    ] {
        let value = fields.remove(core).unwrap_or_default();
        fields.insert(new.to_owned(), value);
    }
    event
}

async fn serve<A: Into<Response>>(
    stream: TcpStream,
    log: Log,
    answer: Arc<Mutex<impl FnMut(&Request) -> A>>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.unwrap();
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let request = Request {
            line: line.trim().trim_end_matches(" HTTP/1.1").to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let response = (answer.lock().unwrap())(&request).into();
        log.lock().unwrap().send_modify(|all| all.push(request));
        let retry_after = response
            .retry_after
            .map(|s| format!("Retry-After: {s}\r\n"));
        let length = format!("Content-Length: {}\r\n", response.text.len());
        let length = Some(length).filter(|_| !response.open);
        let head = format!(
            "HTTP/1.1 {} x\r\nContent-Type: application/json\r\n{}{}\r\n",
            response.code,
            retry_after.unwrap_or_default(),
            length.unwrap_or_default()
        );
        let text = head + &response.text;
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        if response.open {
            // Until the client closes.
            let _closed = stream.read_u8().await;
            return;
        }
    }
}

/// A refusal as the API server writes it.
pub(crate) fn status(code: u16) -> Answer {
    let reason = match code {
        404 => "NotFound",
        409 => "AlreadyExists",
        _ => "",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": "the server's own words"});
    (code, None, body)
}

/// Answers as a server without pods that accepts all Events.
pub(crate) fn accept_events(request: &Request) -> Answer {
    match request.line.split(' ').next() {
        Some("POST") => (201, None, request.body.clone()),
        Some("PATCH") => (200, None, json!({})),
        _ => status(404),
    }
}

/// A leak of 1 MiB/s.
pub(crate) fn leak() -> History {
    History {
        cgroup: "/kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8/17db".to_owned(),
        limit_bytes: Some(64 << 20),
        samples: vec![(32_000, 32 << 20), (16_000, 48 << 20), (0, 64 << 20)],
        slope_bytes_per_second: Some(1 << 20),
        half_to_limit_ms: Some(32_000),
        pattern: pressure::GrowthPattern::Leak,
    }
}

/// `tail` in container main of pod shop/hungry, at the container's limit.
pub(crate) fn incident() -> Incident {
    let some = |text: &str| Some(text.to_owned());
    Incident {
        scope: Scope::Container,
        limit_bytes: Some(64 << 20),
        limit_cgroup: some("/kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8/17db"),
        outcome: Outcome::ContainerDied,
        trigger: Some(Trigger {
            pid: 4242,
            comm: "tail".to_owned(),
        }),
        victim_count: 1,
        victims: vec![Victim {
            process: Process {
                pid: 4242,
                namespace_pid: Some(1),
                comm: some("tail"),
                rss_bytes: Some(Rss {
                    anon: 63 << 20,
                    file: 1 << 19,
                    shmem: 0,
                }),
                ..Process::default()
            },
            first_process: Some(true),
            container: Some(Container {
                id: "17db".to_owned(),
                name: some("main"),
                runtime: some("containerd"),
            }),
            pod: Some(Pod {
                namespace: some("shop"),
                name: some("hungry"),
                uid: some(UID),
            }),
        }],
        stamp_ns: 812_345_678_901,
        ..Incident::new(
            "6f1c0a52-812345678901-4242".to_owned(),
            "2026-11-21T09:00:00.123456789Z".parse().unwrap(),
            "node-a".to_owned(),
        )
    }
}
