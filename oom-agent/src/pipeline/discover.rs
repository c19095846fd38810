//! What is there on this host; what is missing is said once and done without.

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

/// Given to find credentials: an exec plugin or a file on a dead mount may hang.
const CREDENTIALS: Duration = Duration::from_secs(30);

/// A runtime that was not there is looked for again after this long, when next needed.
const AGAIN: Duration = Duration::from_secs(10);

/// The container runtimes of this node: there may be several, and any may come later than the agent.
pub(super) struct Runtimes {
    flag: Option<Socket>,
    found: Mutex<Found>,
    /// When the sockets were looked at last; held while they are.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Found {
    runtimes: Vec<Cri>,
    /// Sockets on which something else speaks, as they were told of.
    foreign: Vec<String>,
}

// === impl Runtimes ===

impl Runtimes {
    pub(super) fn new(flag: Option<Socket>) -> Self {
        let named = flag.iter().map(|socket| Cri::new(socket.clone()));
        let found = Found {
            runtimes: named.collect(),
            ..Found::default()
        };
        Self {
            found: Mutex::new(found),
            flag,
            looked: tokio::sync::Mutex::default(),
        }
    }

    /// The socket that was named, or what [`find`](Self::find) gave last. Waits for nobody.
    pub(super) fn known(&self) -> Several {
        Several(self.lock().runtimes.clone())
    }

    /// The socket that was named, else all that answer. Those that did not are looked at again when it
    /// was some time ago.
    pub(super) async fn find(&self) -> Several {
        let mut looked = self.looked.lock().await;
        let is_first = looked.is_none();
        if looked.is_none_or(|looked| looked.elapsed() >= AGAIN) {
            match &self.flag {
                Some(_) if is_first => self.check_named().await,
                Some(_) => {}
                None => self.look(is_first).await,
            }
            *looked = Some(Instant::now());
        }
        self.known()
    }

    async fn check_named(&self) {
        for cri in self.known().0 {
            if !cri.socket().path().exists() {
                tracing::warn!(socket = %cri.socket(), "no container runtime listens there yet: containers go unnamed until one does");
            } else if let Err(error @ CriError::Foreign { .. }) = cri.answers().await {
                tracing::warn!(%error, "containers go unnamed");
            }
        }
    }

    /// Those on whose sockets nobody listens: one of several leaves the word to the others, and is found
    /// again when it is back.
    async fn gone(&self) -> Vec<Socket> {
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

    async fn look(&self, is_first: bool) {
        let looked = cri::discover(Path::new("/"), &self.known().0).await;
        for cri in &looked.runtimes {
            tracing::info!(socket = %cri.socket(), "container runtime");
        }
        let foreign: Vec<String> = looked.foreign.iter().map(ToString::to_string).collect();
        let gone = self.gone().await;
        let mut found = self.lock();
        if gone.len() < found.runtimes.len() {
            found.runtimes.retain(|cri| !gone.contains(cri.socket()));
        }
        for error in foreign.iter().filter(|it| !found.foreign.contains(it)) {
            tracing::info!("{error}");
        }
        found.foreign = foreign;
        found.runtimes.extend(looked.runtimes);
        if is_first && found.runtimes.is_empty() {
            tracing::info!(
                looked_at = SOCKETS.join(" "),
                "no container runtime answers: containers go unnamed; --cri-endpoint names another socket"
            );
        }
    }

    /// What the runtime that knows it says of a container; else why none does. Sockets are looked for
    /// only while none is known.
    pub(super) async fn container(
        &self,
        id: &str,
        patience: Duration,
    ) -> Result<cri::Identity, Unknown> {
        let mut known = self.known();
        if known.0.is_empty() {
            known = self.find().await;
        }
        match known.container(id, patience).await {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => Err(Unknown {
                is_everywhere: matches!(error, CriError::NotFound { .. }),
                reason: chain(&error).to_string(),
            }),
            None => Err(Unknown {
                is_everywhere: false,
                reason: self.why_none(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why_none(&self) -> String {
        let foreign = self.lock().foreign.join("; ");
        if foreign.is_empty() {
            "no container runtime was found".to_owned()
        } else {
            format!("no container runtime was found: {foreign}")
        }
    }
}

/// Why a container has no name.
#[derive(Debug)]
pub(super) struct Unknown {
    /// Every runtime has answered, and none knows it.
    pub(super) is_everywhere: bool,
    pub(super) reason: String,
}

/// The memory controller's hierarchy, or the part of it that is this node's; and how /proc shows it.
pub(super) fn hierarchy(
    cgroupfs: Option<&Path>,
) -> Result<(Hierarchy, CgroupNamespace), HierarchyError> {
    let found = Hierarchy::find(cgroupfs).inspect_err(|error| {
        tracing::warn!(
            error = %chain(error),
            "what the memory of cgroups was made of will not be known"
        );
    })?;
    tracing::debug!(
        path = %found.path().display(),
        version = ?found.version(),
        "memory controller"
    );
    let namespace = CgroupNamespace::detect(|| {
        probe::find_own_cgroup(found.version() == Version::V2)
            .inspect_err(|error| tracing::debug!(error = %chain(error), "own cgroup"))
            .ok()?
    });
    if found.is_whole() {
        return Ok((found, namespace));
    }
    let part = found.mounted_part();
    let part = part.map(|part| namespace.absolute_path(&part?));
    let Ok(Some(part)) = part else {
        tracing::warn!(
            "a part of the memory controller's hierarchy is mounted, and it cannot be told which: kills of other nodes on the same kernel are told as this node's"
        );
        return Ok((found, namespace));
    };
    tracing::info!(
        cgroup = part,
        "a part of the hierarchy is mounted: kills outside of it are another node's on the same kernel"
    );
    Ok((found.with_node(NodeRoot::new(&part)), namespace))
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
