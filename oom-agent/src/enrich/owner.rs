//! A cgroup's container and pod: from the container runtime, else from the path.

use std::time::Duration;

use memcg::cgroup::PathIdentity;
use tokio::time::timeout;

use super::enricher::Enricher;
use crate::incident::{Container, Pod};

/// Longer than one query to a runtime may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// The container and the pod of a cgroup. Without a runtime's answer in time they come from the path.
pub(crate) async fn find_owner(
    enricher: &Enricher,
    identity: PathIdentity,
) -> (Option<Container>, Option<Pod>) {
    let answer = timeout(PATIENCE, query_runtimes(enricher, &identity)).await;
    let (container, pod) = answer.ok().flatten().unwrap_or_default();
    let by_path = owner_by_path(identity);
    (container.or(by_path.0), pod.or(by_path.1))
}

async fn query_runtimes(
    enricher: &Enricher,
    identity: &PathIdentity,
) -> Option<(Option<Container>, Option<Pod>)> {
    if let Some(id) = &identity.container_id {
        let (container, pod) = enricher.find_container(id).await?;
        return Some((Some(container), pod));
    }
    let uid = identity.pod_uid.as_ref()?;
    let sandbox = enricher.runtimes.find().await.find_sandbox(uid).await?;
    Some((None, Some(sandbox.ok()?.pod)))
}

/// The container and pod by the ids in a cgroup's path.
pub(super) fn owner_by_path(identity: PathIdentity) -> (Option<Container>, Option<Pod>) {
    let is_machine = identity.is_machine();
    let container = identity.container_id.map(|id| Container {
        name: is_machine.then(|| id.clone()),
        id,
        runtime: identity.runtime.map(|runtime| runtime.as_str().to_owned()),
    });
    let pod = identity.pod_uid.map(|uid| Pod {
        uid: Some(uid),
        ..Pod::default()
    });
    (container, pod)
}
