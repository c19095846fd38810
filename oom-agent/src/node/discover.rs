//! Finds the cgroup hierarchy and the API server. A missing one is logged once and disabled.

use std::path::{Path, PathBuf};

use memcg::{CgroupNamespace, Hierarchy, HierarchyError, NodeRoot, Version};
use oom_capture::probe;
use service::error_chain::chain;

use crate::k8s::{self, CredentialsError, Recorder};

/// The memory controller's hierarchy, or this node's part of it; and the cgroup namespace of /proc.
pub(super) fn find_hierarchy(
    cgroupfs: Option<&Path>,
) -> (Result<Hierarchy, HierarchyError>, CgroupNamespace) {
    let found = match Hierarchy::find(cgroupfs) {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the memory of cgroups cannot be read");
            return (Err(error), CgroupNamespace::detect(|| None));
        }
    };
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
        return (Ok(found), namespace);
    }
    let part = found.mounted_part();
    let part = part.map(|part| namespace.absolute_path(&part?));
    let Ok(Some(part)) = part else {
        tracing::warn!(
            "an unknown part of the memory controller's hierarchy is mounted: kills of other nodes on the same kernel are reported as this node's"
        );
        return (Ok(found), namespace);
    };
    tracing::info!(
        cgroup = part,
        "a part of the hierarchy is mounted: kills outside of it are another node's on the same kernel"
    );
    (Ok(found.with_node(NodeRoot::new(&part))), namespace)
}

/// The writer of Events; `None` without an API server.
/// `on_node`: the Node's name is configured, not guessed, so that Events may be written on it.
pub(super) async fn connect_recorder(
    kubeconfig: Option<PathBuf>,
    node: String,
    on_node: bool,
) -> Option<Recorder> {
    let log = |error: &CredentialsError| tracing::error!(error = %chain(error), "no Events");
    let found = k8s::find_credentials(kubeconfig).await;
    let Some(found) = found.inspect_err(log).ok()? else {
        tracing::info!(
            "no Events: no service account, no $KUBECONFIG, no ~/.kube/config; --kubeconfig names another file"
        );
        return None;
    };
    let (server, source) = (found.server(), found.source.clone());
    let recorder = Recorder::new(found, node, on_node);
    let recorder = recorder.inspect_err(log).ok()?;
    tracing::info!(server, %source, "Kubernetes API server");
    if !on_node {
        tracing::warn!(
            "no Events on the Node: the host's name may not be its name there; set NODE_NAME"
        );
    }
    Some(recorder)
}
