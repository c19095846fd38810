//! The part of the hierarchy that is one node's.

use std::path::{Path, PathBuf};

use crate::cgroup::{self, Identity};

/// The part of the hierarchy of cgroups that is this node's: all of it, but where several nodes share a
/// kernel (kind, minikube, k3d, a node in LXC).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRoot(String);

// === impl NodeRoot ===

impl NodeRoot {
    /// The node whose root is the cgroup of that path.
    pub fn new(path: &str) -> Self {
        Self(path.trim_end_matches('/').to_owned())
    }

    /// Its path from the hierarchy's root on; empty where it is that.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// The directory of a cgroup of the node's, where what is mounted at `mount` is the node's root.
    pub fn dir(&self, mount: &Path, path: &str) -> PathBuf {
        let below = path.strip_prefix(&self.0).unwrap_or(path);
        mount.join(below.trim_start_matches('/'))
    }

    /// A cgroup's path, as the node itself sees it; `None` where it is not the node's. Where names next
    /// to the root are left out it may be, and is told as it is.
    pub fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        if path.starts_with("/…") {
            return Some(path);
        }
        match path.strip_prefix(&self.0)? {
            "" => Some("/"),
            below => below.starts_with('/').then_some(below),
        }
    }

    /// The container and pod that a path names to the node.
    pub fn identity(&self, path: &str) -> Identity {
        cgroup::parse(self.below(path).unwrap_or(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_what_is_below_its_root() {
        let all = NodeRoot::default();
        assert_eq!(all.below("/system.slice"), Some("/system.slice"));
        assert_eq!(all.below("/"), Some("/"));
        let node = NodeRoot::new("/docker/abc/");
        assert_eq!(node.below("/docker/abc/init.scope"), Some("/init.scope"));
        assert_eq!(node.below("/docker/abc"), Some("/"));
        for other in [
            "/docker/abcd/init.scope",
            "/docker",
            "/",
            "/docker/b/docker/abc",
        ] {
            assert_eq!(node.below(other), None, "{other}");
        }
        assert_eq!(node.below("/…/init.scope"), Some("/…/init.scope"));
    }
}
