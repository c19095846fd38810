//! The container runtime's own word on a container, over the Container Runtime Interface.

mod endpoint;
mod error;
mod foreign;
mod sandbox;
mod several;
mod status;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::cri::runtime_service_client::RuntimeServiceClient;
use proto::cri::{
    ContainerFilter, ContainerState, ContainerStateValue, ListContainersRequest, PodSandboxFilter,
    VersionRequest,
};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tonic::transport::{Channel, Endpoint};

pub use endpoint::{Found, SOCKETS, Socket, discover};
pub use error::CriError;
pub use sandbox::Sandbox;
pub use several::Several;

use crate::incident::{Container, Pod};
use service::escape;

/// An incident waits this long for the runtime at most, then goes out degraded.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Room for the labels of one container; tonic's own 4 MiB would do, and is said here.
const MESSAGE_LEN: usize = 4 << 20;

/// Room for the labels of every container that runs on a node: some 30 KiB for each of 512.
const LIST_LEN: usize = 16 << 20;

/// The longest name taken over, in bytes.
const NAME_LEN: usize = 253;

/// The labels that the kubelet puts on every container.
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_UID: &str = "io.kubernetes.pod.uid";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// A runtime behind a socket. Connects when first asked, and again after it was restarted.
#[derive(Clone)]
pub struct Cri {
    socket: Socket,
    channel: Channel,
    client: RuntimeServiceClient<Channel>,
    runtime: Arc<OnceCell<String>>,
    /// Whether it answered when it was asked last, whatever it said.
    answered: Arc<Mutex<Option<bool>>>,
}

/// What the runtime knows of a container, or of a pod's sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id, name and runtime; a sandbox has no name.
    pub container: Container,
    /// Its pod, where Kubernetes made it.
    pub pod: Option<Pod>,
}

// === impl Cri ===

impl Cri {
    /// No connection is made yet. Needs a tokio runtime.
    pub fn new(socket: Socket) -> Self {
        let path = socket.path().to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // Every runtime takes this authority; a path in its place is refused by some.
        let channel = Endpoint::from_static("http://localhost")
            .connect_timeout(PATIENCE)
            .connect_with_connector_lazy(connector);
        Self {
            socket,
            client: RuntimeServiceClient::new(channel.clone()),
            channel,
            runtime: Arc::default(),
            answered: Arc::default(),
        }
    }

    /// Asks for one container, or one pod's sandbox, by its whole id, for no longer than `patience`; one
    /// that has exited is still known until it is collected.
    pub async fn container(&self, id: &str, patience: Duration) -> Result<Identity, CriError> {
        self.within(patience, self.container_or_sandbox(id)).await
    }

    async fn container_or_sandbox(&self, id: &str) -> Result<Identity, CriError> {
        let filter = ContainerFilter {
            id: id.to_owned(),
            ..ContainerFilter::default()
        };
        let listed = self.list(filter).await?;
        let mut found = listed.into_iter().find(|found| found.container.id == id);
        if found.is_none() {
            let filter = PodSandboxFilter {
                id: id.to_owned(),
                ..PodSandboxFilter::default()
            };
            let listed = self.list_sandboxes(filter, MESSAGE_LEN).await?;
            found = listed.into_iter().find(|found| found.container.id == id);
        }
        found.ok_or_else(|| CriError::NotFound {
            socket: self.socket.clone(),
        })
    }

    /// Every container and every pod's sandbox, those that have exited included.
    pub async fn all(&self, patience: Duration) -> Result<Vec<Identity>, CriError> {
        let listed = async {
            let mut all = self.list(ContainerFilter::default()).await?;
            let sandboxes = self.list_sandboxes(PodSandboxFilter::default(), LIST_LEN);
            all.extend(sandboxes.await?);
            Ok(all)
        };
        self.within(patience, listed).await
    }

    /// Every container that runs.
    pub async fn running(&self) -> Result<Vec<Identity>, CriError> {
        let filter = ContainerFilter {
            state: Some(ContainerStateValue {
                state: ContainerState::ContainerRunning.into(),
            }),
            ..ContainerFilter::default()
        };
        self.in_time(self.list(filter)).await
    }

    /// Whether the runtime answered when it was asked last, be it with a refusal; `None` before that.
    pub fn answered(&self) -> Option<bool> {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the runtime listens.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether a runtime is there, within half a second.
    pub async fn answers(&self) -> Result<(), CriError> {
        self.in_time(self.runtime_name()).await.map(drop)
    }

    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, CriError>>,
    ) -> Result<T, CriError> {
        self.within(PATIENCE, call).await
    }

    async fn within<T>(
        &self,
        patience: Duration,
        call: impl Future<Output = Result<T, CriError>>,
    ) -> Result<T, CriError> {
        let result = tokio::time::timeout(patience, call)
            .await
            .unwrap_or_else(|_| {
                Err(CriError::Slow {
                    socket: self.socket.clone(),
                    patience,
                })
            });
        let answered = match &result {
            Ok(_) | Err(CriError::NotFound { .. }) => true,
            Err(CriError::Call { reached, .. }) => *reached,
            Err(_) => false,
        };
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(answered);
        result
    }

    async fn list(&self, filter: ContainerFilter) -> Result<Vec<Identity>, CriError> {
        let runtime = self.runtime_name().await?;
        let message_len = if filter.id.is_empty() {
            LIST_LEN
        } else {
            MESSAGE_LEN
        };
        let mut client = self.client.clone().max_decoding_message_size(message_len);
        let request = ListContainersRequest {
            filter: Some(filter),
        };
        let listed = client.list_containers(request).await;
        let listed = listed.map_err(|status| self.failed("ListContainers", &status))?;
        let containers = listed.into_inner().containers.into_iter();
        Ok(containers
            .map(|found| {
                let name = found.metadata.map(|metadata| metadata.name);
                identity(found.id, name, found.labels, runtime.clone())
            })
            .collect())
    }

    async fn runtime_name(&self) -> Result<String, CriError> {
        let name = self.runtime.get_or_try_init(|| async {
            let request = VersionRequest {
                version: "v1".to_owned(),
            };
            let version = self.client.clone().version(request).await;
            match version {
                Ok(version) => Ok(version.into_inner().runtime_name),
                Err(status) => {
                    let speaks = foreign::recognise(&self.socket, &self.channel, &status).await;
                    Err(match speaks {
                        Some(speaks) => CriError::Foreign {
                            socket: self.socket.clone(),
                            speaks,
                        },
                        None => self.failed("Version", &status),
                    })
                }
            }
        });
        name.await.cloned()
    }

    fn failed(&self, call: &'static str, status: &tonic::Status) -> CriError {
        CriError::Call {
            call,
            socket: self.socket.clone(),
            code: status.code(),
            // What the runtime itself says has no cause on this side.
            reached: std::error::Error::source(status).is_none(),
            message: status.message().to_owned(),
        }
    }
}

/// Of what the runtime has of a container: `name` is its own, `labels` are mostly the kubelet's.
fn identity(
    id: String,
    name: Option<String>,
    mut labels: HashMap<String, String>,
    runtime: String,
) -> Identity {
    // Kubernetes allows 253 bytes; what is longer is not its own.
    let bounded = |text: String| escape::truncate(&text, NAME_LEN).to_owned();
    let mut label = |name: &str| {
        let value = labels.remove(name).filter(|value| !value.is_empty());
        value.map(bounded)
    };
    let pod = Pod {
        namespace: label(POD_NAMESPACE),
        name: label(POD_NAME),
        uid: label(POD_UID),
    };
    let labelled = label(CONTAINER_NAME);
    Identity {
        pod: (pod != Pod::default()).then_some(pod),
        container: Container {
            id,
            name: labelled.or_else(|| name.filter(|name| !name.is_empty()).map(bounded)),
            runtime: Some(runtime).filter(|name| !name.is_empty()).map(bounded),
        },
    }
}
