//! The client of the Container Runtime Interface: names and states of containers.

mod endpoint;
mod error;
mod foreign;
mod runtimes;
mod sandbox;

mod status;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proto::cri::runtime_service_client::RuntimeServiceClient;
use proto::cri::{
    ContainerFilter, ContainerState, ContainerStateValue, ListContainersRequest, PodSandboxFilter,
    VersionRequest,
};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tonic::transport::{Channel, Endpoint};

pub(crate) use endpoint::{SOCKETS, Socket, discover};
pub(crate) use error::CriError;
pub(crate) use runtimes::RuntimeSet;
pub(crate) use sandbox::Sandbox;

use crate::incident::{Container, Pod};
use service::escape;

/// How long an incident waits for the runtime; then it is reported degraded.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_millis(500);

/// Room for the labels of one container.
const MESSAGE_LEN: usize = 4 << 20;

/// Room for the labels of all containers of a node: about 30 KiB for each of 512.
const LIST_LEN: usize = 16 << 20;

/// The longest name kept, in bytes.
const NAME_LEN: usize = 253;

/// The kubelet's labels on every container.
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_UID: &str = "io.kubernetes.pod.uid";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// A runtime behind a socket. Connects on the first call, and again after the runtime was restarted.
#[derive(Clone)]
pub(crate) struct Cri {
    socket: Socket,
    channel: Channel,
    client: RuntimeServiceClient<Channel>,
    runtime: Arc<OnceCell<String>>,
    /// Whether it answered the last call, also with an error.
    answered: Arc<Mutex<Option<bool>>>,
}

/// A container or a pod's sandbox, as the runtime knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerInfo {
    /// A sandbox has no name.
    pub(crate) container: Container,
    /// `None` outside of Kubernetes.
    pub(crate) pod: Option<Pod>,
}

// === impl Cri ===

impl Cri {
    /// Makes no connection yet. Needs a tokio runtime.
    pub(crate) fn new(socket: Socket) -> Self {
        let path = socket.path().to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // Every runtime accepts this authority; some refuse a path.
        let channel = Endpoint::from_static("http://localhost")
            .connect_timeout(CALL_TIMEOUT)
            .connect_with_connector_lazy(connector);
        Self {
            socket,
            client: RuntimeServiceClient::new(channel.clone()),
            channel,
            runtime: Arc::default(),
            answered: Arc::default(),
        }
    }

    /// Finds one container, or one pod's sandbox, by its whole id. One that has exited is known until it is
    /// garbage-collected.
    pub(crate) async fn find_container(
        &self,
        id: &str,
        limit: Duration,
    ) -> Result<ContainerInfo, CriError> {
        self.within(limit, self.find_container_or_sandbox(id)).await
    }

    async fn find_container_or_sandbox(&self, id: &str) -> Result<ContainerInfo, CriError> {
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

    /// Also those that have exited.
    pub(crate) async fn list_all(&self, limit: Duration) -> Result<Vec<ContainerInfo>, CriError> {
        let listed = async {
            let mut all = self.list(ContainerFilter::default()).await?;
            let sandboxes = self.list_sandboxes(PodSandboxFilter::default(), LIST_LEN);
            all.extend(sandboxes.await?);
            Ok(all)
        };
        self.within(limit, listed).await
    }

    pub(crate) async fn list_running(&self) -> Result<Vec<ContainerInfo>, CriError> {
        let filter = ContainerFilter {
            state: Some(ContainerStateValue {
                state: ContainerState::ContainerRunning.into(),
            }),
            ..ContainerFilter::default()
        };
        self.within(CALL_TIMEOUT, self.list(filter)).await
    }

    /// Whether the runtime answered the last call, also with an error; `None` before the first.
    pub(crate) fn answered(&self) -> Option<bool> {
        *self.answered.lock()
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Fails unless a runtime answers.
    pub(crate) async fn check_connection(&self) -> Result<(), CriError> {
        let name = self.within(CALL_TIMEOUT, self.runtime_name());
        name.await.map(drop)
    }

    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, CriError>>,
    ) -> Result<T, CriError> {
        let result = tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
            Err(CriError::Timeout {
                socket: self.socket.clone(),
                limit,
            })
        });
        let answered = match &result {
            Ok(_) | Err(CriError::NotFound { .. }) => true,
            Err(CriError::Call { reached, .. }) => *reached,
            Err(_) => false,
        };
        *self.answered.lock() = Some(answered);
        result
    }

    async fn list(&self, filter: ContainerFilter) -> Result<Vec<ContainerInfo>, CriError> {
        let runtime = self.runtime_name().await?;
        let listed = self.request_containers(filter).await?.into_iter();
        let info = |found: proto::cri::Container| {
            let name = found.metadata.map(|metadata| metadata.name);
            container_info(found.id, name.as_deref(), &found.labels, runtime)
        };
        Ok(listed.map(info).collect())
    }

    async fn request_containers(
        &self,
        filter: ContainerFilter,
    ) -> Result<Vec<proto::cri::Container>, CriError> {
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
        let listed = listed.map_err(|status| self.call_error("ListContainers", &status))?;
        Ok(listed.into_inner().containers)
    }

    async fn runtime_name(&self) -> Result<&str, CriError> {
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
                        None => self.call_error("Version", &status),
                    })
                }
            }
        });
        Ok(name.await?)
    }

    fn call_error(&self, call: &'static str, status: &tonic::Status) -> CriError {
        CriError::Call {
            call,
            socket: self.socket.clone(),
            code: status.code(),
            // An error of the runtime itself has no source here.
            reached: std::error::Error::source(status).is_none(),
            message: status.message().to_owned(),
        }
    }
}

/// `name` is the runtime's, used without the kubelet's labels.
fn container_info(
    id: String,
    name: Option<&str>,
    labels: &HashMap<String, String>,
    runtime: &str,
) -> ContainerInfo {
    let label = |name: &str| non_empty(labels.get(name)?);
    let pod = Pod {
        namespace: label(POD_NAMESPACE),
        name: label(POD_NAME),
        uid: label(POD_UID),
    };
    ContainerInfo {
        pod: (pod != Pod::default()).then_some(pod),
        container: Container {
            id,
            name: label(CONTAINER_NAME).or_else(|| non_empty(name?)),
            runtime: non_empty(runtime),
        },
    }
}

/// Bounded: Kubernetes allows 253 bytes.
fn non_empty(text: &str) -> Option<String> {
    let text = escape::truncate(text, NAME_LEN);
    (!text.is_empty()).then(|| text.to_owned())
}
