//! A fake API server in this process: real HTTP on its own port.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Cluster;
use crate::k8s::find_credentials;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `GET /api/v1/pods?limit=100`.
    pub(crate) line: String,
    /// `null` without a body.
    pub(crate) body: Value,
}

pub(crate) struct Answer {
    code: u16,
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

// === impl Answer ===

impl Answer {
    pub(crate) fn json(code: u16, body: &Value) -> Self {
        let text = body.to_string();
        Self {
            code,
            text,
            open: false,
        }
    }

    /// A refusal as the API server writes it.
    pub(crate) fn status(code: u16) -> Self {
        Self::json(code, &status(code))
    }

    /// A watch that ends after these changes.
    pub(crate) fn changes(changes: &[Value]) -> Self {
        let lines: Vec<String> = changes.iter().map(|change| format!("{change}\n")).collect();
        Self {
            code: 200,
            text: lines.concat(),
            open: false,
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

pub(crate) fn status(code: u16) -> Value {
    let reason = match code {
        404 => "NotFound",
        409 => "AlreadyExists",
        _ => "",
    };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": "the server's own words"})
}

// === impl Fake ===

impl Fake {
    /// Calls `answer` for each request.
    pub(crate) async fn start(
        answer: impl FnMut(&Request) -> Answer + Send + 'static,
    ) -> (Self, Cluster) {
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
        let found = find_credentials(Some(kubeconfig.path()))
            .await
            .unwrap()
            .unwrap();
        let cluster = Cluster::new(found).unwrap();
        let fake = Self {
            requests,
            kubeconfig,
        };
        (fake, cluster)
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        assert!(self.kubeconfig.path().exists());
        self.requests.borrow().clone()
    }

    /// Waits until the requests satisfy `enough`.
    pub(crate) async fn wait_until(&mut self, enough: impl FnMut(&Vec<Request>) -> bool) {
        self.requests.wait_for(enough).await.unwrap();
    }
}

async fn serve(stream: TcpStream, log: Log, answer: Arc<Mutex<impl FnMut(&Request) -> Answer>>) {
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
        let answer = (answer.lock().unwrap())(&request);
        log.lock().unwrap().send_modify(|all| all.push(request));
        let Answer { code, text, open } = answer;
        let length = if open {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", text.len())
        };
        let head = format!("HTTP/1.1 {code} x\r\nContent-Type: application/json\r\n{length}\r\n");
        if stream.write_all((head + &text).as_bytes()).await.is_err() {
            return;
        }
        if open {
            // Until the client closes.
            let _closed = stream.read_u8().await;
            return;
        }
    }
}
