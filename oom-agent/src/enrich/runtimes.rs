//! The container runtimes of this node, found by their sockets.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::UnixStream;

use crate::cri::{self, Cri, CriError, RuntimeSet, SOCKETS, Socket};

/// A missing runtime is searched for again after this long, when next needed.
const AGAIN: Duration = Duration::from_secs(10);

/// The container runtimes of this node: there may be several, and any may start later than the agent.
pub(crate) struct Runtimes {
    flag: Option<Socket>,
    found: Mutex<Found>,
    /// When the sockets were probed last; locked meanwhile.
    probed: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Found {
    runtimes: Vec<Cri>,
    /// Errors of sockets that do not serve the CRI, as logged.
    foreign: Vec<String>,
}

// === impl Runtimes ===

impl Runtimes {
    pub(crate) fn new(flag: Option<Socket>) -> Self {
        let configured = flag.iter().map(|socket| Cri::new(socket.clone()));
        let found = Found {
            runtimes: configured.collect(),
            ..Found::default()
        };
        Self {
            found: Mutex::new(found),
            flag,
            probed: tokio::sync::Mutex::default(),
        }
    }

    /// The configured socket, or the last result of [`find`](Self::find). Never waits.
    pub(crate) fn known(&self) -> RuntimeSet {
        RuntimeSet(self.found.lock().runtimes.clone())
    }

    /// The configured socket, else all that answer. Sockets that did not are probed again after a while.
    pub(crate) async fn find(&self) -> RuntimeSet {
        let mut probed = self.probed.lock().await;
        let is_first = probed.is_none();
        if probed.is_none_or(|probed| probed.elapsed() >= AGAIN) {
            match &self.flag {
                Some(_) if is_first => self.check_configured().await,
                Some(_) => {}
                None => self.probe_sockets(is_first).await,
            }
            *probed = Some(Instant::now());
        }
        self.known()
    }

    async fn check_configured(&self) {
        for cri in self.known().0 {
            if !cri.socket().path().exists() {
                tracing::warn!(socket = %cri.socket(), "no container runtime listens there yet: containers go unnamed until one does");
            } else if let Err(error @ CriError::Foreign { .. }) = cri.check_connection().await {
                tracing::warn!(%error, "containers go unnamed");
            }
        }
    }

    /// Runtimes whose sockets refuse connections: the others go on, and these are found again when back.
    async fn find_gone(&self) -> Vec<Socket> {
        let mut gone = Vec::new();
        for cri in self.known().0 {
            let answer = UnixStream::connect(cri.socket().path()).await;
            let kind = answer.map_err(|error| error.kind()).err();
            if matches!(
                kind,
                Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused)
            ) {
                tracing::debug!(socket = %cri.socket(), "no container runtime listens there any more");
                gone.push(cri.socket().clone());
            }
        }
        gone
    }

    async fn probe_sockets(&self, is_first: bool) {
        let result = cri::discover(Path::new("/"), &self.known().0).await;
        for cri in &result.runtimes {
            tracing::info!(socket = %cri.socket(), "container runtime");
        }
        let foreign: Vec<String> = result.foreign.iter().map(ToString::to_string).collect();
        let gone = self.find_gone().await;
        let mut found = self.found.lock();
        if gone.len() < found.runtimes.len() {
            found.runtimes.retain(|cri| !gone.contains(cri.socket()));
        }
        for error in foreign.iter().filter(|it| !found.foreign.contains(it)) {
            tracing::info!("{error}");
        }
        found.foreign = foreign;
        found.runtimes.extend(result.runtimes);
        if is_first && found.runtimes.is_empty() {
            tracing::info!(
                looked_at = SOCKETS.join(" "),
                "no container runtime answers: containers go unnamed; --cri-endpoint names another socket"
            );
        }
    }

    /// Queries the runtimes for a container. Probes the sockets only while no runtime is known.
    pub(crate) async fn find_container(
        &self,
        id: &str,
        patience: Duration,
    ) -> Result<cri::ContainerInfo, CriError> {
        let mut known = self.known();
        if known.0.is_empty() {
            known = self.find().await;
        }
        let found = known.find_container(id, patience).await;
        found.unwrap_or_else(|| Err(CriError::NoRuntime(self.describe_foreign())))
    }

    fn describe_foreign(&self) -> String {
        let foreign = self.found.lock().foreign.join("; ");
        if foreign.is_empty() {
            foreign
        } else {
            format!(": {foreign}")
        }
    }
}
