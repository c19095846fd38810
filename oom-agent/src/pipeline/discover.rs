//! What is there on this host; what is missing is said once and done without.

use std::path::Path;

use crate::cri::{self, Cri, SOCKETS, Socket};
use crate::error_chain::chain;
use crate::k8s::{self, Recorder};
use crate::sinks::{Sink, start_events};

/// The container runtime.
pub(super) fn cri(flag: Option<Socket>) -> Option<Cri> {
    let Some(socket) = flag.or_else(|| cri::discover(Path::new("/"))) else {
        tracing::info!(
            looked_at = SOCKETS.join(" "),
            "no container runtime found: containers go unnamed; --cri-endpoint names another socket"
        );
        return None;
    };
    if !socket.path().exists() {
        tracing::warn!(%socket, "no container runtime listens there yet: containers go unnamed until one does");
    }
    tracing::info!(%socket, "container runtime");
    Some(Cri::new(socket))
}

/// The sink of Kubernetes Events.
pub(super) async fn events(kubeconfig: Option<&Path>, node: &str) -> Option<Sink> {
    let found = match k8s::find(kubeconfig).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            tracing::info!(
                "no Events: no service account, no $KUBECONFIG, no ~/.kube/config; --kubeconfig names another file"
            );
            return None;
        }
        Err(error) => {
            tracing::error!(error = %chain(&error), "no Events");
            return None;
        }
    };
    let (server, source) = (found.server(), found.source.clone());
    match Recorder::new(found, node.to_owned()) {
        Ok(recorder) => {
            tracing::info!(server, %source, "Kubernetes API server");
            Some(start_events(recorder))
        }
        Err(error) => {
            tracing::error!(error = %chain(&error), "no Events");
            None
        }
    }
}
