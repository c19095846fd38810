//! Finds container runtimes, the cgroup hierarchy and the API server. Missing integrations are logged once
//! and disabled.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memcg::{CgroupNamespace, Hierarchy, HierarchyError, NodeRoot, Version};
use oom_capture::probe;
use service::error_chain::chain;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::cri::{self, Cri, CriError, SOCKETS, Several, Socket};
use crate::k8s::{self, Recorder};

/// How long finding credentials may take: an exec plugin or a file on a dead mount may hang.
const CREDENTIALS: Duration = Duration::from_secs(30);

/// A missing runtime is searched for again after this long, when next needed.
const AGAIN: Duration = Duration::from_secs(10);

/// The container runtimes of this node: there may be several, and any may start later than the agent.
pub(super) struct Runtimes {
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
    pub(super) fn new(flag: Option<Socket>) -> Self {
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
    pub(super) fn known(&self) -> Several {
        Several(self.lock().runtimes.clone())
    }

    /// The configured socket, else all that answer. Sockets that did not are probed again after a while.
    pub(super) async fn find(&self) -> Several {
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
            } else if let Err(error @ CriError::Foreign { .. }) = cri.answers().await {
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
        let mut found = self.lock();
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
    pub(super) async fn find_container(
        &self,
        id: &str,
        patience: Duration,
    ) -> Result<cri::Identity, UnknownContainer> {
        let mut known = self.known();
        if known.0.is_empty() {
            known = self.find().await;
        }
        match known.container(id, patience).await {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => Err(UnknownContainer {
                is_everywhere: matches!(error, CriError::NotFound { .. }),
                reason: chain(&error).to_string(),
            }),
            None => Err(UnknownContainer {
                is_everywhere: false,
                reason: self.no_runtime_reason(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_runtime_reason(&self) -> String {
        let foreign = self.lock().foreign.join("; ");
        if foreign.is_empty() {
            "no container runtime was found".to_owned()
        } else {
            format!("no container runtime was found: {foreign}")
        }
    }
}

/// Why no runtime gave a container.
#[derive(Debug)]
pub(super) struct UnknownContainer {
    /// Every runtime has answered, and none knows it.
    pub(super) is_everywhere: bool,
    pub(super) reason: String,
}

/// The memory controller's hierarchy, or this node's part of it; and the cgroup namespace of /proc.
pub(super) fn find_hierarchy(
    cgroupfs: Option<&Path>,
) -> Result<(Hierarchy, CgroupNamespace), HierarchyError> {
    let found = Hierarchy::find(cgroupfs).inspect_err(|error| {
        tracing::warn!(
            error = %chain(error),
            "the memory of cgroups cannot be read"
        );
    })?;
    tracing::debug!(
        path = %found.path().display(),
        version = ?found.version(),
        "memory controller"
    );
    let namespace = CgroupNamespace::find(|| {
        probe::own_cgroup(found.version() == Version::V2)
            .inspect_err(|error| tracing::debug!(error = %chain(error), "own cgroup"))
            .ok()?
    });
    if found.is_whole() {
        return Ok((found, namespace));
    }
    let part = found.mounted_part();
    let part = part.map(|part| namespace.absolute(&part?));
    let Ok(Some(part)) = part else {
        tracing::warn!(
            "an unknown part of the memory controller's hierarchy is mounted: kills of other nodes on the same kernel are reported as this node's"
        );
        return Ok((found, namespace));
    };
    tracing::info!(
        cgroup = part,
        "a part of the hierarchy is mounted: kills outside of it are another node's on the same kernel"
    );
    Ok((found.with_node(NodeRoot::new(&part)), namespace))
}

/// The writer of Events; `None` without an API server. Reading credentials blocks, so it has its own thread.
/// `on_node`: the Node's name is configured, not guessed, so that Events may be written on it.
pub(super) async fn connect_recorder(
    kubeconfig: Option<PathBuf>,
    node: String,
    on_node: bool,
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
            match Recorder::new(found, node, on_node) {
                Ok(recorder) => {
                    tracing::info!(server, %source, "Kubernetes API server");
                    if !on_node {
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
