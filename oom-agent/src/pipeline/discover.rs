//! What is there on this host; what is missing is said once and done without.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::cri::{self, Cri, SOCKETS, Socket};
use crate::error_chain::chain;
use crate::k8s::{self, Recorder};
use crate::snapshot::{Hierarchy, Snapshots};

/// Given to find credentials: an exec plugin or a file on a dead mount may hang.
const CREDENTIALS: Duration = Duration::from_secs(30);

/// A runtime that was not there is looked for again after this long, when next needed.
const AGAIN: Duration = Duration::from_secs(10);

/// The container runtime, looked for when first needed and until found.
pub(super) struct Runtime {
    flag: Option<Socket>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    found: Option<Cri>,
    looked: Option<Instant>,
}

// === impl Runtime ===

impl Runtime {
    pub(super) fn new(flag: Option<Socket>) -> Self {
        Self {
            flag,
            state: Mutex::default(),
        }
    }

    /// What [`get`](Self::get) gave last: one that was named, or was found already.
    pub(super) async fn known(&self) -> Option<Cri> {
        if self.flag.is_some() {
            return self.get().await;
        }
        self.state.lock().await.found.clone()
    }

    /// The socket that was named, else the first in order that answers.
    pub(super) async fn get(&self) -> Option<Cri> {
        let mut state = self.state.lock().await;
        if state.found.is_some() {
            return state.found.clone();
        }
        let now = Instant::now();
        let first = state.looked.is_none();
        if state.looked.is_some_and(|looked| now - looked < AGAIN) {
            return None;
        }
        state.looked = Some(now);
        state.found = match &self.flag {
            Some(socket) => Some(named(socket)),
            None => cri::discover(Path::new("/")).await,
        };
        match &state.found {
            Some(cri) => tracing::info!(socket = %cri.socket(), "container runtime"),
            None if first => tracing::info!(
                looked_at = SOCKETS.join(" "),
                "no container runtime answers: containers go unnamed; --cri-endpoint names another socket"
            ),
            None => {}
        }
        state.found.clone()
    }
}

fn named(socket: &Socket) -> Cri {
    if !socket.path().exists() {
        tracing::warn!(%socket, "no container runtime listens there yet: containers go unnamed until one does");
    }
    Cri::new(socket.clone())
}

/// Where a cgroup's memory is looked at.
pub(super) fn snapshots(cgroupfs: Option<&Path>) -> Snapshots {
    let hierarchy = Hierarchy::find(cgroupfs);
    match &hierarchy {
        Ok(found) => tracing::debug!(
            path = %found.path().display(),
            version = ?found.version(),
            "memory controller"
        ),
        Err(error) => tracing::warn!(
            error = %chain(error),
            "what the memory of cgroups was made of will not be known"
        ),
    }
    Snapshots::new(hierarchy, "/proc")
}

/// Who writes the Events; `None` when nobody can. Reading credentials blocks, so it has its own thread.
/// `tell_node`: the Node's name is given, not guessed, so that Events may be written on it.
pub(super) async fn recorder(
    kubeconfig: Option<PathBuf>,
    node: String,
    tell_node: bool,
) -> Option<Recorder> {
    let handle = Handle::current();
    let search = tokio::task::spawn_blocking(move || {
        handle.block_on(async move { k8s::find(kubeconfig.as_deref()).await })
    });
    let found = match timeout(CREDENTIALS, search).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::error!(%error, "no Events: the search for credentials ended badly");
            return None;
        }
        Err(_) => {
            tracing::error!("no Events: the credentials could not be read within {CREDENTIALS:?}");
            return None;
        }
    };
    match found {
        Ok(Some(found)) => {
            let (server, source) = (found.server(), found.source.clone());
            match Recorder::new(found, node, tell_node) {
                Ok(recorder) => {
                    tracing::info!(server, %source, "Kubernetes API server");
                    if !tell_node {
                        tracing::warn!(
                            "no Events on the Node: the host's name may not be its name there; set NODE_NAME"
                        );
                    }
                    return Some(recorder);
                }
                Err(error) => tracing::error!(error = %chain(&error), "no Events"),
            }
        }
        Ok(None) => tracing::info!(
            "no Events: no service account, no $KUBECONFIG, no ~/.kube/config; --kubeconfig names another file"
        ),
        Err(error) => tracing::error!(error = %chain(&error), "no Events"),
    }
    None
}
