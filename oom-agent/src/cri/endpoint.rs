use std::path::{Path, PathBuf};
use std::str::FromStr;

use service::error_chain::chain;

use super::{Cri, CriError};

/// Where the runtimes listen, the commonest first.
pub const SOCKETS: [&str; 6] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/k0s/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/cri-dockerd.sock",
];

/// A runtime's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket(PathBuf);

/// What came of a look at all sockets.
#[derive(Default)]
pub struct Found {
    /// Runtimes that answer, in the order of [`SOCKETS`].
    pub runtimes: Vec<Cri>,
    /// Sockets on which something else speaks: containerd's is there on many hosts where another
    /// runtime is the kubelet's, and does not speak CRI then.
    pub foreign: Vec<CriError>,
}

/// All of [`SOCKETS`] below `root` that answer as container runtimes, but those that are `known`.
pub async fn discover(root: &Path, known: &[Cri]) -> Found {
    let candidates = SOCKETS
        .iter()
        .map(|socket| Socket(root.join(socket.trim_start_matches('/'))))
        .filter(|socket| socket.path().exists())
        .filter(|socket| known.iter().all(|cri| cri.socket() != socket))
        .map(|socket| async {
            let cri = Cri::new(socket);
            cri.answers().await.map(|()| cri)
        });
    let mut found = Found::default();
    for answer in futures::future::join_all(candidates).await {
        match answer {
            Ok(cri) => found.runtimes.push(cri),
            Err(error @ CriError::Foreign { .. }) => found.foreign.push(error),
            Err(error) => tracing::debug!(error = %chain(&error), "a socket does not answer"),
        }
    }
    found
}

// === impl Socket ===

impl Socket {
    /// Of the socket's file.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for Socket {
    type Err = CriError;

    /// Takes `unix:///path`, as the kubelet does, or a bare absolute path.
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
