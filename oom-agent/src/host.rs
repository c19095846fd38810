//! What this host is called, and which boot this is.

use std::path::{Path, PathBuf};

/// Longest name taken over, in bytes: that of a Kubernetes node.
const NAME_LEN: usize = 253;

/// Names that go into every incident.
#[derive(Clone, Debug)]
pub struct Host {
    /// `NODE_NAME`, else the host's name.
    pub node: String,
    /// The first 8 hex digits of the boot id: tells one boot's stamps from another's.
    pub boot: String,
    /// Bytes in a page of memory.
    pub page_size: u64,
}

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
}

// === impl Host ===

impl Host {
    /// Reads it from the system; `node` overrides the host's name.
    pub fn read(node: Option<String>) -> Self {
        let node = node.filter(|name| !name.is_empty()).unwrap_or_else(|| {
            let uname = rustix::system::uname();
            uname.nodename().to_string_lossy().into_owned()
        });
        Self {
            node: crate::escape::truncate(&node, NAME_LEN).to_owned(),
            boot: boot_id(Path::new("/proc/sys/kernel/random/boot_id")),
            page_size: rustix::param::page_size() as u64,
        }
    }
}

fn boot_id(path: &Path) -> String {
    std::fs::read_to_string(path).map_or_else(
        |error| {
            tracing::warn!(%error, path = %path.display(), "incident ids do not tell this boot from another");
            "00000000".to_owned()
        },
        |id| id.chars().filter(char::is_ascii_hexdigit).take(8).collect(),
    )
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
