//! A mock of an API server: serves the pods that it is given, and accepts and keeps every Event.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use axum::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::background::Background;
use crate::http;
use crate::wait::HANG;

/// Ends with its last clone.
#[derive(Debug, Clone)]
pub(super) struct Api {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: Arc<Background>,
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
        let served = Arc::clone(&shared);
        let server = http::serve(listener, move |method, uri, body| {
            let (status, answer) = served.answer(method, uri.path(), body);
            let kind = ("content-type", "application/json");
            (status, [kind], answer.to_string())
        })?;
        Ok(Self {
            address,
            shared,
            _server: Arc::new(server),
        })
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

    /// Serves a pod from now on.
    pub(super) fn put(&self, namespace: &str, name: &str, pod: Value) {
        let key = (namespace.to_owned(), name.to_owned());
        self.shared.state().pods.insert(key, pod);
    }

    /// Serves it no more.
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
            .wait_timeout_while(state, HANG, |state| ours(state).len() < count);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let found = ours(&state);
        if found.len() < count {
            bail!("{count} Events about {incident}: not within {HANG:?}: {found:?}");
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

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (method.as_str(), segments.as_slice()) {
            ("POST", ["api", "v1", "namespaces", _, "events"]) => {
                let event: Value = serde_json::from_slice(body).unwrap_or_default();
                self.state().events.push(event.clone());
                self.came.notify_all();
                (StatusCode::CREATED, event)
            }
            ("PATCH", _) => (StatusCode::OK, json!({})),
            ("GET", ["api", "v1", "pods"]) => {
                let items: Vec<Value> = self.state().pods.values().cloned().collect();
                let list =
                    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items});
                (StatusCode::OK, list)
            }
            ("GET", ["api", "v1", "namespaces", namespace, "pods", name]) => {
                let key = ((*namespace).to_owned(), (*name).to_owned());
                match self.state().pods.get(&key) {
                    Some(pod) => (StatusCode::OK, pod.clone()),
                    None => not_found(),
                }
            }
            _ => not_found(),
        }
    }
}

fn not_found() -> (StatusCode, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
        "message": "there is no such thing",
    });
    (StatusCode::NOT_FOUND, status)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn pods_are_served_and_events_kept() {
        let api = Api::start().unwrap();
        api.put("shop", "web-1", json!({"kind": "Pod"}));
        let get = |path: &str| http::get(api.address, path).unwrap();
        let (status, pod) = get("/api/v1/namespaces/shop/pods/web-1");
        assert_eq!((status, pod.as_str()), (200, r#"{"kind":"Pod"}"#));
        assert_eq!(get("/api/v1/namespaces/shop/pods/web-2?a=b").0, 404);
        let event = json!({
            "action": "Kill", "metadata": {"annotations": {"oom-bonker.dev/incident": "b-1-2"}},
        });
        let mut stream = TcpStream::connect(api.address).unwrap();
        let request = "POST /api/v1/namespaces/shop/events?fieldManager=test";
        let sent = http::exchange(&mut stream, request, "api", &event.to_string());
        assert_eq!(sent.unwrap().0, 201);
        assert_eq!(api.events("b-1-2", 1).unwrap(), [event]);
    }
}
