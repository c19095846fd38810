//! A mock of kube-state-metrics: two metrics of some containers, as they change with kills.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};

use crate::background::Background;
use crate::http;

/// Serves on a loopback port until it is dropped.
#[derive(Debug)]
pub struct KubeStateMetrics {
    address: SocketAddr,
    /// Each container with the number of its restarts.
    containers: Arc<Mutex<Vec<(Container, u64)>>>,
    _server: Background,
}

/// Which container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Of the pod.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// Its own name.
    pub name: String,
}

impl KubeStateMetrics {
    /// The containers run, and were never restarted.
    pub fn start(containers: Vec<Container>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen for scrapers")?;
        let address = listener.local_addr().context("read the bound address")?;
        let containers = containers.into_iter().map(|container| (container, 0));
        let containers = Arc::new(Mutex::new(containers.collect::<Vec<_>>()));
        let served = Arc::clone(&containers);
        let server = http::serve(listener, move |_, _, _| {
            let kind = ("content-type", "text/plain; version=0.0.4");
            ([kind], exposition(&lock(&served)))
        })?;
        Ok(Self {
            address,
            containers,
            _server: server,
        })
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// That container was OOM-killed, and is started again.
    pub fn oom_kill(&self, killed: &Container) {
        for (container, restarts) in lock(&self.containers).iter_mut() {
            if container == killed {
                *restarts = restarts.saturating_add(1);
            }
        }
    }
}

fn lock(containers: &Mutex<Vec<(Container, u64)>>) -> MutexGuard<'_, Vec<(Container, u64)>> {
    containers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of each container its number of restarts, and of those that were killed why.
fn exposition(containers: &[(Container, u64)]) -> String {
    let labels = |container: &Container| {
        let Container {
            namespace,
            pod,
            name,
        } = container;
        format!(r#"namespace="{namespace}",pod="{pod}",uid="5f3d",container="{name}""#)
    };
    let mut text = "# TYPE kube_pod_container_status_restarts_total counter\n".to_owned();
    for (container, restarts) in containers {
        let _infallible = writeln!(
            text,
            "kube_pod_container_status_restarts_total{{{}}} {restarts}",
            labels(container)
        );
    }
    text.push_str("# TYPE kube_pod_container_status_last_terminated_reason gauge\n");
    for (container, _) in containers.iter().filter(|(_, restarts)| *restarts > 0) {
        let _infallible = writeln!(
            text,
            "kube_pod_container_status_last_terminated_reason{{{},reason=\"OOMKilled\"}} 1",
            labels(container)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_container_has_a_reason_and_another_restart() {
        let container = |name: &str| Container {
            namespace: "shop".to_owned(),
            pod: "cart-1".to_owned(),
            name: name.to_owned(),
        };
        let mock = KubeStateMetrics::start(vec![container("a"), container("b")]).unwrap();
        mock.oom_kill(&container("b"));
        let (status, text) = super::super::http::get(mock.address(), "/metrics").unwrap();
        assert_eq!(status, 200);
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let of =
            |name: &str| format!(r#"namespace="shop",pod="cart-1",uid="5f3d",container="{name}""#);
        let restarts = "kube_pod_container_status_restarts_total";
        let reason = "kube_pod_container_status_last_terminated_reason";
        assert_eq!(
            series,
            [
                format!("{restarts}{{{}}} 0", of("a")),
                format!("{restarts}{{{}}} 1", of("b")),
                format!("{reason}{{{},reason=\"OOMKilled\"}} 1", of("b")),
            ]
        );
    }
}
