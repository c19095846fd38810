//! Whose a cgroup is: as the container runtime knows it, else as its path tells.

use std::time::Duration;

use memcg::cgroup::PathIdentity;
use tokio::time::timeout;

use super::resolve::Resolver;
use crate::incident::{Container, Pod};

/// More than a runtime is given for a container or a pod.
const PATIENCE: Duration = Duration::from_secs(4);

/// The container, where the cgroup is one's, and the pod, where it is one's or a container's of it. What
/// no runtime reports in time is as the path has it.
pub(super) async fn find_owner(
    resolver: &Resolver,
    identity: PathIdentity,
) -> (Option<Container>, Option<Pod>) {
    let asked = timeout(PATIENCE, ask_runtimes(resolver, &identity)).await;
    let (container, pod) = asked.ok().flatten().unwrap_or_default();
    let by_path = owner_by_path(identity);
    (container.or(by_path.0), pod.or(by_path.1))
}

async fn ask_runtimes(
    resolver: &Resolver,
    identity: &PathIdentity,
) -> Option<(Option<Container>, Option<Pod>)> {
    if let Some(id) = &identity.container_id {
        let (container, pod) = resolver.container(id).await?;
        return Some((Some(container), pod));
    }
    let uid = identity.pod_uid.as_ref()?;
    let sandbox = resolver.runtimes.find().await.sandbox(uid).await?;
    Some((None, Some(sandbox.ok()?.pod)))
}

/// The container and pod as a cgroup's path names them.
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
