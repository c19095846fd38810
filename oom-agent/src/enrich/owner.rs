//! A cgroup's container and pod, by its path. Pure.

use memcg::cgroup::PathIdentity;

use crate::incident::{Container, Pod};

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
