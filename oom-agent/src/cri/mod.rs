//! The container runtime's own word on a container, over the Container Runtime Interface.

mod endpoint;
mod error;

#[cfg(test)]
mod tests;

use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::cri::runtime_service_client::RuntimeServiceClient;
use proto::cri::{
    Container as CriContainer, ContainerFilter, ListContainersRequest, VersionRequest,
};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tonic::transport::{Channel, Endpoint};

pub use endpoint::{SOCKETS, Socket, discover};
pub use error::CriError;

use crate::escape;
use crate::incident::{Container, Pod};

/// An incident waits this long for the runtime at most, then goes out degraded.
const PATIENCE: Duration = Duration::from_millis(500);

/// Room for the labels of one container; tonic's own 4 MiB would do, and is said here.
const MESSAGE_LEN: usize = 4 << 20;

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
    client: RuntimeServiceClient<Channel>,
    runtime: std::sync::Arc<OnceCell<String>>,
}

/// What the runtime knows of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id, name and runtime.
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
            client: RuntimeServiceClient::new(channel).max_decoding_message_size(MESSAGE_LEN),
            runtime: std::sync::Arc::default(),
        }
    }

    /// Asks for one container by its whole id; one that has exited is still known until it is collected.
    pub async fn container(&self, id: &str) -> Result<Identity, CriError> {
        let asked = tokio::time::timeout(PATIENCE, async {
            let runtime = self.runtime_name().await?;
            let request = ListContainersRequest {
                filter: Some(ContainerFilter {
                    id: id.to_owned(),
                    ..ContainerFilter::default()
                }),
            };
            let listed = self.client.clone().list_containers(request).await;
            let listed = listed.map_err(|status| self.failed("ListContainers", &status))?;
            listed
                .into_inner()
                .containers
                .into_iter()
                .find(|container| container.id == id)
                .map(|container| identity(container, runtime))
                .ok_or_else(|| CriError::NotFound {
                    socket: self.socket.clone(),
                })
        });
        asked.await.unwrap_or_else(|_| {
            Err(CriError::Slow {
                socket: self.socket.clone(),
                patience: PATIENCE,
            })
        })
    }

    /// Where the runtime listens.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether a runtime is there, within half a second.
    pub async fn answers(&self) -> bool {
        matches!(
            tokio::time::timeout(PATIENCE, self.runtime_name()).await,
            Ok(Ok(_))
        )
    }

    async fn runtime_name(&self) -> Result<String, CriError> {
        let name = self.runtime.get_or_try_init(|| async {
            let request = VersionRequest {
                version: "v1".to_owned(),
            };
            let version = self.client.clone().version(request).await;
            let version = version.map_err(|status| self.failed("Version", &status))?;
            Ok(version.into_inner().runtime_name)
        });
        name.await.cloned()
    }

    fn failed(&self, call: &'static str, status: &tonic::Status) -> CriError {
        CriError::Call {
            call,
            socket: self.socket.clone(),
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

fn identity(mut found: CriContainer, runtime: String) -> Identity {
    // Kubernetes allows 253 bytes; what is longer is not its own.
    let bounded = |text: String| escape::truncate(&text, NAME_LEN).to_owned();
    let mut label = |name: &str| {
        let value = found.labels.remove(name).filter(|value| !value.is_empty());
        value.map(bounded)
    };
    let pod = Pod {
        namespace: label(POD_NAMESPACE),
        name: label(POD_NAME),
        uid: label(POD_UID),
    };
    let name = label(CONTAINER_NAME);
    Identity {
        pod: (pod != Pod::default()).then_some(pod),
        container: Container {
            id: found.id,
            name: name.or_else(|| {
                found
                    .metadata
                    .map(|metadata| metadata.name)
                    .filter(|name| !name.is_empty())
                    .map(bounded)
            }),
            runtime: Some(runtime).filter(|name| !name.is_empty()).map(bounded),
        },
    }
}
