//! A mock of an API server: gives the pods that it is told of, says of every Event that it was created,
//! and keeps it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::SOON;

/// Ends with the machine.
#[derive(Debug, Clone)]
pub(super) struct Api {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// An Event has come.
    came: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By namespace and name.
    pods: BTreeMap<(String, String), Value>,
    /// As they were to be created.
    events: Vec<Value>,
}

impl Api {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen for the agent")?;
        let address = listener.local_addr().context("the address of a listener")?;
        let shared = Arc::new(Shared::default());
        let api = Self {
            address,
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A connection that breaks is the agent's to mend.
                thread::spawn(move || shared.serve(stream).unwrap_or_default());
            }
        });
        Ok(api)
    }

    /// Credentials for it.
    pub(super) fn kubeconfig(&self) -> Result<Value> {
        // A client of TLS wants one, though none is spoken here.
        let ca = rcgen::generate_simple_self_signed(Vec::new()).context("make a certificate")?;
        let cluster = json!({
            "server": format!("http://{}", self.address),
            "certificate-authority-data": STANDARD.encode(ca.cert.pem()),
        });
        Ok(json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "mock",
            "clusters": [{"name": "mock", "cluster": cluster}],
            "contexts": [{"name": "mock", "context": {"cluster": "mock", "user": "agent"}}],
            "users": [{"name": "agent", "user": {}}],
        }))
    }

    /// Has such a pod from now on.
    pub(super) fn put(&self, namespace: &str, name: &str, pod: Value) {
        let key = (namespace.to_owned(), name.to_owned());
        self.shared.state().pods.insert(key, pod);
    }

    /// Has it no more.
    pub(super) fn remove(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.shared.state().pods.remove(&key);
    }

    /// The Events about the kill of an incident, once there are so many.
    pub(super) fn events(&self, incident: &str, count: usize) -> Result<Vec<Value>> {
        let ours = |state: &State| -> Vec<Value> {
            let about = |event: &&Value| {
                let id = event.pointer("/metadata/annotations/oom-bonker.dev~1incident");
                id == Some(&json!(incident)) && event.get("action") == Some(&json!("Kill"))
            };
            state.events.iter().filter(about).cloned().collect()
        };
        let state = self.shared.state();
        let waited = self
            .shared
            .came
            .wait_timeout_while(state, SOON, |state| ours(state).len() < count);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let found = ours(&state);
        if found.len() < count {
            bail!("{count} Events about {incident}: not within {SOON:?}: {found:?}");
        }
        Ok(found)
    }

    /// Every Event's reason and message.
    pub(super) fn notes(&self) -> Vec<Value> {
        let note = |event: &Value| json!([event.get("reason"), event.get("message")]);
        self.shared.state().events.iter().map(note).collect()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true).context("send answers at once")?;
        let mut stream = BufReader::new(stream);
        while let Some((request, body)) = read(&mut stream)? {
            let (code, answer) = self.answer(&request, &body);
            let answer = answer.to_string();
            write!(
                stream.get_mut(),
                "HTTP/1.1 {code} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
                answer.len()
            )
            .context("answer")?;
        }
        Ok(())
    }

    fn answer(&self, request: &str, body: &[u8]) -> (u16, Value) {
        let mut words = request.split(' ');
        let (method, target) = (words.next(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (method, segments.as_slice()) {
            (Some("POST"), ["api", "v1", "namespaces", _, "events"]) => {
                let event: Value = serde_json::from_slice(body).unwrap_or_default();
                self.state().events.push(event.clone());
                self.came.notify_all();
                (201, event)
            }
            (Some("PATCH"), _) => (200, json!({})),
            (Some("GET"), ["api", "v1", "pods"]) => {
                let items: Vec<Value> = self.state().pods.values().cloned().collect();
                let list =
                    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items});
                (200, list)
            }
            (Some("GET"), ["api", "v1", "namespaces", namespace, "pods", name]) => {
                let key = ((*namespace).to_owned(), (*name).to_owned());
                match self.state().pods.get(&key) {
                    Some(pod) => (200, pod.clone()),
                    None => refusal(404),
                }
            }
            _ => refusal(404),
        }
    }
}

fn refusal(code: u16) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": code,
        "message": "there is no such thing",
    });
    (code, status)
}

/// The request's first line, and its body; `None` at the end.
fn read(stream: &mut BufReader<TcpStream>) -> Result<Option<(String, Vec<u8>)>> {
    let mut request = String::new();
    if stream.read_line(&mut request).context("read a request")? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).context("read a header")?;
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().context("read a length")?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).context("read a body")?;
    Ok(Some((request.trim().to_owned(), body)))
}
