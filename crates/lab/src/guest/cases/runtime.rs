//! A mock of a container runtime, which a guest has none of: names containers, and gives their pods
//! annotations.

use std::path::Path;

use anyhow::{Context as _, Result};
use proto::cri::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use proto::cri::{
    Container, ContainerMetadata, ListContainersRequest, ListContainersResponse,
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxMetadata, VersionRequest,
    VersionResponse,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::background::Background;

const POD_UID: &str = "io.kubernetes.pod.uid";

/// Serves until it is dropped.
#[derive(Debug)]
pub(super) struct Runtime {
    _server: Background,
}

struct Answers {
    annotations: &'static [(&'static str, &'static str)],
}

impl Runtime {
    /// At that socket; every pod has these annotations.
    pub(super) fn serve(
        socket: &Path,
        annotations: &'static [(&'static str, &'static str)],
    ) -> Result<Self> {
        let listener = std::os::unix::net::UnixListener::bind(socket)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .with_context(|| format!("listen at {}", socket.display()))?;
        let service = RuntimeServiceServer::new(Answers { annotations });
        let server = Background::spawn(move || async move {
            let incoming = UnixListenerStream::new(UnixListener::from_std(listener)?);
            let server = Server::builder().add_service(service);
            let served = server.serve_with_incoming(incoming).await;
            served.context("serve the CRI")
        })?;
        Ok(Self { _server: server })
    }
}

#[tonic::async_trait]
impl RuntimeService for Answers {
    async fn version(
        &self,
        _: Request<VersionRequest>,
    ) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            runtime_name: "mock".to_owned(),
            ..VersionResponse::default()
        }))
    }

    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Result<Response<ListContainersResponse>, Status> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let named = |id: String| Container {
            id,
            metadata: Some(ContainerMetadata {
                name: "main".to_owned(),
                attempt: 0,
            }),
            ..Container::default()
        };
        let wanted = Some(filter.id).filter(|id| !id.is_empty());
        Ok(Response::new(ListContainersResponse {
            containers: wanted.map(named).into_iter().collect(),
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<ListPodSandboxRequest>,
    ) -> Result<Response<ListPodSandboxResponse>, Status> {
        let mut filter = request.into_inner().filter.unwrap_or_default();
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let sandbox = PodSandbox {
            metadata: Some(PodSandboxMetadata {
                name: "hungry".to_owned(),
                namespace: "guest".to_owned(),
                uid: filter.label_selector.remove(POD_UID).unwrap_or_default(),
                attempt: 0,
            }),
            annotations: self.annotations.iter().map(own).collect(),
            ..PodSandbox::default()
        };
        Ok(Response::new(ListPodSandboxResponse {
            items: vec![sandbox],
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::Cri;
    use crate::wait::{self, HANG};

    #[test]
    fn it_speaks_the_cri_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("cri.sock");
        let runtime = Runtime::serve(&socket, &[]).unwrap();
        let mut cri = Cri::connect(&socket).unwrap();
        cri.version().unwrap();
        drop(runtime);
        wait::until("its end", HANG, || cri.version().err()).unwrap();
    }
}
