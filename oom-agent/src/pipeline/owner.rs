//! Whose a cgroup is: as the container runtime knows it, else as its path tells.

use super::resolve::Resolver;
use crate::cgroup::Identity;
use crate::incident::{Container, Pod};

/// The container, where the cgroup is one's, and the pod, where it is one's or a container's of it.
pub(super) async fn find_owner(
    resolver: &Resolver,
    identity: Identity,
) -> (Option<Container>, Option<Pod>) {
    let pod = identity.pod_uid.as_ref().map(|uid| Pod {
        uid: Some(uid.clone()),
        ..Pod::default()
    });
    let Some(id) = identity.container_id else {
        let Some(uid) = identity.pod_uid else {
            return (None, None);
        };
        let sandbox = resolver.runtimes.find().await.sandbox(&uid).await;
        let sandbox = sandbox.and_then(Result::ok);
        return (None, sandbox.map(|sandbox| sandbox.pod).or(pod));
    };
    if let Some((container, named)) = resolver.container(&id).await {
        return (Some(container), named.or(pod));
    }
    let runtime = identity.runtime.map(|runtime| runtime.as_str().to_owned());
    let container = Container {
        id,
        name: None,
        runtime,
    };
    (Some(container), pod)
}
