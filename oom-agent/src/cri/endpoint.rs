use std::path::{Path, PathBuf};
use std::str::FromStr;

use service::error_chain::chain;

use super::{Cri, CriError};

/// The runtimes' sockets, the most common first.
pub(crate) const SOCKETS: [&str; 6] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/k0s/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/cri-dockerd.sock",
];

/// A runtime's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket(PathBuf);

#[derive(Default)]
pub(crate) struct Discovered {
    /// Runtimes that answer, in the order of [`SOCKETS`].
    pub(crate) runtimes: Vec<Cri>,
    /// Sockets without CRI: many hosts have containerd, without CRI, beside the kubelet's runtime.
    pub(crate) foreign: Vec<CriError>,
}

/// Tries all of [`SOCKETS`] below `root` but those of the `known` runtimes.
pub(crate) async fn discover(root: &Path, known: &[Cri]) -> Discovered {
    let candidates = SOCKETS
        .iter()
        .map(|socket| Socket(root.join(socket.trim_start_matches('/'))))
        .filter(|socket| socket.path().exists())
        .filter(|socket| known.iter().all(|cri| cri.socket() != socket))
        .map(|socket| async {
            let cri = Cri::new(socket);
            cri.check_connection().await.map(|()| cri)
        });
    let mut discovered = Discovered::default();
    for answer in futures::future::join_all(candidates).await {
        match answer {
            Ok(cri) => discovered.runtimes.push(cri),
            Err(error @ CriError::Foreign { .. }) => discovered.foreign.push(error),
            Err(error) => tracing::debug!(error = %chain(&error), "a socket does not answer"),
        }
    }
    discovered
}

// === impl Socket ===

impl Socket {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for Socket {
    type Err = CriError;

    /// `unix:///path`, as for the kubelet, or an absolute path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = Path::new(text.strip_prefix("unix://").unwrap_or(text));
        if path.is_absolute() {
            Ok(Self(path.to_owned()))
        } else {
            Err(CriError::Endpoint)
        }
    }
}

impl std::fmt::Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}
