//! The part of the hierarchy that belongs to this node.

use std::path::{Path, PathBuf};

use crate::cgroup::{self, PathIdentity};

/// The path of the cgroup that contains this node: the hierarchy's root, except where several nodes share a kernel
/// (kind, minikube, k3d, a node in LXC).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRoot(String);

// === impl NodeRoot ===

impl NodeRoot {
    /// `path` is from the hierarchy's root on.
    pub fn new(path: &str) -> Self {
        Self(path.trim_end_matches('/').to_owned())
    }

    /// Empty for the hierarchy's root.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// The directory of one of the node's cgroups, with the node's root mounted at `mount`.
    pub fn cgroup_dir(&self, mount: &Path, path: &str) -> PathBuf {
        let below = path.strip_prefix(&self.0).unwrap_or(path);
        mount.join(below.trim_start_matches('/'))
    }

    /// A cgroup's path from the node's root on; `None` where it is another node's. A path without the names next to
    /// the root, which may be the node's, is returned unchanged.
    pub fn path_on_node<'a>(&self, path: &'a str) -> Option<&'a str> {
        if path.starts_with("/…") {
            return Some(path);
        }
        match path.strip_prefix(&self.0)? {
            "" => Some("/"),
            below => below.starts_with('/').then_some(below),
        }
    }

    /// The container and pod of a cgroup, by its path from the node's root on.
    pub fn identify_path(&self, path: &str) -> PathIdentity {
        cgroup::parse_path(self.path_on_node(path).unwrap_or(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_cgroups_are_below_its_root() {
        let all = NodeRoot::default();
        assert_eq!(all.path_on_node("/system.slice"), Some("/system.slice"));
        assert_eq!(all.path_on_node("/"), Some("/"));
        let node = NodeRoot::new("/docker/abc/");
        assert_eq!(
            node.path_on_node("/docker/abc/init.scope"),
            Some("/init.scope")
        );
        assert_eq!(node.path_on_node("/docker/abc"), Some("/"));
        for other in [
            "/docker/abcd/init.scope",
            "/docker",
            "/",
            "/docker/b/docker/abc",
        ] {
            assert_eq!(node.path_on_node(other), None, "{other}");
        }
        assert_eq!(node.path_on_node("/…/init.scope"), Some("/…/init.scope"));
    }
}
