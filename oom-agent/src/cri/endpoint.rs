use std::path::{Path, PathBuf};
use std::str::FromStr;

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

/// The first of [`SOCKETS`] below `root` that answers as a container runtime. containerd's socket
/// is there on many hosts where another runtime is the kubelet's, and does not speak CRI then.
pub async fn discover(root: &Path) -> Option<Cri> {
    let candidates = SOCKETS
        .iter()
        .map(|socket| root.join(socket.trim_start_matches('/')))
        .filter(|path| path.exists())
        .map(|path| async {
            let cri = Cri::new(Socket(path));
            cri.answers().await.then_some(cri)
        });
    let answers = futures::future::join_all(candidates).await;
    answers.into_iter().flatten().next()
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
