//! A mock of an API server: serves the pods that it is given, and accepts and keeps every Event.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::background::Background;
use crate::http;
use crate::pki::kubeconfig;
use crate::wait::{self, HANG};

const NAMESPACES: &str = "/api/v1/namespaces/";

/// Ends with its last clone.
#[derive(Debug, Clone)]
pub(super) struct Api {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _server: Arc<Background>,
}

#[derive(Debug, Default)]
struct State {
    /// By their paths.
    pods: BTreeMap<String, Value>,
    /// As they were to be created.
    events: Vec<Value>,
}

impl Api {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen for the agent")?;
        let address = listener.local_addr().context("the address of a listener")?;
        let state = Arc::<Mutex<State>>::default();
        let served = Arc::clone(&state);
        let server = http::serve(listener, move |method, uri, body| {
            let (status, answer) = lock(&served).answer(method, uri.path(), body);
            let kind = ("content-type", "application/json");
            (status, [kind], answer.to_string())
        })?;
        Ok(Self {
            address,
            state,
            _server: Arc::new(server),
        })
    }

    /// Credentials for it.
    pub(super) fn kubeconfig(&self) -> Result<Value> {
        // A client of TLS wants one, though none is spoken here.
        let ca = rcgen::generate_simple_self_signed(Vec::new()).context("make a certificate")?;
        let url = format!("http://{}", self.address);
        Ok(kubeconfig(&url, &ca.cert.pem(), &json!({})))
    }

    /// Serves a pod from now on.
    pub(super) fn put(&self, namespace: &str, name: &str, pod: Value) {
        lock(&self.state).pods.insert(path(namespace, name), pod);
    }

    /// Serves it no more.
    pub(super) fn remove(&self, namespace: &str, name: &str) {
        lock(&self.state).pods.remove(&path(namespace, name));
    }

    /// The Events about the kill of an incident, once there are so many.
    pub(super) fn events(&self, incident: &str, count: usize) -> Result<Vec<Value>> {
        let about = |event: &&Value| {
            let id = event.pointer("/metadata/annotations/oom-bonker.dev~1incident");
            id == Some(&json!(incident)) && event.get("action") == Some(&json!("Kill"))
        };
        let ours = || -> Vec<Value> {
            let state = lock(&self.state);
            state.events.iter().filter(about).cloned().collect()
        };
        wait::until(&format!("{count} Events about {incident}"), HANG, || {
            Some(ours()).filter(|found| found.len() >= count)
        })
        .with_context(|| format!("so far {:?}", ours()))
    }

    /// Every Event's reason and message.
    pub(super) fn notes(&self) -> Vec<Value> {
        let note = |event: &Value| json!([event.get("reason"), event.get("message")]);
        lock(&self.state).events.iter().map(note).collect()
    }
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        match (method.as_str(), path) {
            ("POST", path) if path.starts_with(NAMESPACES) && path.ends_with("/events") => {
                let event: Value = serde_json::from_slice(body).unwrap_or_default();
                self.events.push(event.clone());
                (StatusCode::CREATED, event)
            }
            ("PATCH", _) => (StatusCode::OK, json!({})),
            ("GET", "/api/v1/pods") => {
                let items: Vec<&Value> = self.pods.values().collect();
                let list =
                    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items});
                (StatusCode::OK, list)
            }
            ("GET", path) if self.pods.contains_key(path) => {
                (StatusCode::OK, json!(self.pods.get(path)))
            }
            _ => {
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                    "reason": "NotFound", "message": "there is no such thing",
                });
                (StatusCode::NOT_FOUND, status)
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path(namespace: &str, name: &str) -> String {
    format!("{NAMESPACES}{namespace}/pods/{name}")
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
