//! The cgroups of container and pod on a path, and relations between paths. Pure.

use crate::cgroup::{self, PathIdentity};

/// The paths of the container's and the pod's cgroup on the path of a cgroup in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owners<'a> {
    /// `None` where the path names no container.
    pub container: Option<&'a str>,
    /// `None` where the path names no pod, or the pod has no cgroup of its own.
    pub pod: Option<&'a str>,
}

// === impl Owners ===

impl<'a> Owners<'a> {
    /// Finds the container's and the pod's cgroup on a path.
    pub fn from_path(path: &'a str) -> Self {
        let own = cgroup::parse_path(path);
        let topmost = |belongs: &dyn Fn(&PathIdentity) -> bool| {
            (0..)
                .map_while(|depth| ancestor(path, depth))
                .take_while(|above| belongs(&cgroup::parse_path(above)))
                .last()
        };
        let in_container = |above: &PathIdentity| {
            above.container_id.is_some()
                && (&above.container_id, &above.pod_uid) == (&own.container_id, &own.pod_uid)
        };
        let in_pod = |above: &PathIdentity| above.pod_uid.is_some() && above.pod_uid == own.pod_uid;
        let container = topmost(&in_container);
        Self {
            container,
            pod: topmost(&in_pod).filter(|pod| Some(*pod) != container),
        }
    }
}

/// Whether `path` is `above` or a descendant of it.
pub fn is_within(path: &str, above: &str) -> bool {
    path == above || is_below(path, above)
}

/// Whether `path` is a descendant of `above`.
pub fn is_below(path: &str, above: &str) -> bool {
    let rest = path.strip_prefix(above.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

/// The ancestor `depth` levels up; `/` is the root.
pub fn ancestor(path: &str, depth: usize) -> Option<&str> {
    let mut path = path.strip_suffix('/').unwrap_or(path);
    for _ in 0..depth {
        let (parent, _) = path.rsplit_once('/')?;
        path = parent;
    }
    Some(if path.is_empty() { "/" } else { path })
}
