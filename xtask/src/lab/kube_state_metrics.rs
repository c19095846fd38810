//! A mock of kube-state-metrics: the two metrics of one container, as they change with its kills.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Serves until the test's process ends.
pub(crate) struct KubeStateMetrics {
    pub(crate) address: SocketAddr,
    restarts: Arc<AtomicU64>,
}

impl KubeStateMetrics {
    /// The container runs, and was never restarted.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let restarts: Arc<AtomicU64> = Arc::default();
        let count = Arc::clone(&restarts);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A scraper that went away is none of the test's business.
                let _ = answer(stream, count.load(Ordering::Relaxed));
            }
        });
        Self { address, restarts }
    }

    /// The container was OOM-killed, and is started again.
    pub(crate) fn oom_kill(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }
}

fn answer(mut stream: TcpStream, restarts: u64) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut some = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut some)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&some[..read]),
        }
    }
    let labels = r#"namespace="shop",pod="cart-1",uid="5f3d",container="cart""#;
    let mut body = format!(
        "# TYPE kube_pod_container_status_restarts_total counter\n\
         kube_pod_container_status_restarts_total{{{labels}}} {restarts}\n"
    );
    if restarts > 0 {
        body += &format!(
            "# TYPE kube_pod_container_status_last_terminated_reason gauge\n\
             kube_pod_container_status_last_terminated_reason{{{labels},reason=\"OOMKilled\"}} 1\n"
        );
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
