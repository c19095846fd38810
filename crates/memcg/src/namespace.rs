//! This process's cgroup namespace, by whose root /proc shows paths.

use std::fs;

/// `PROC_CGROUP_INIT_INO` of the kernel's `include/linux/proc_ns.h`.
const INITIAL: &str = "cgroup:[4026531835]";

/// A cgroup namespace (`cgroup_namespaces(7)`), by the path of its root in the memory controller's hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupNamespace {
    /// Empty in the initial namespace; `None` where it is not known.
    root: Option<String>,
}

/// Whether this process sees paths from the hierarchy's root on.
pub(crate) fn is_initial_cgroup_namespace() -> bool {
    let namespace = fs::read_link("/proc/self/ns/cgroup");
    namespace.is_ok_and(|namespace| namespace.as_os_str() == INITIAL)
}

/// The path of a process's memory cgroup from its `/proc/PID/cgroup`, with lines `hierarchy:controllers:path`: that
/// of the memory controller (cgroup v1), else of the unified hierarchy (v2).
pub fn parse_memory_cgroup(text: &str) -> Option<String> {
    let lines = || {
        text.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.split_once(':')
        })
    };
    lines()
        .find(|(controllers, _)| controllers.split(',').any(|name| name == "memory"))
        .or_else(|| lines().find(|(controllers, _)| controllers.is_empty()))
        .map(|(_, path)| path.to_owned())
}

// === impl CgroupNamespace ===

impl CgroupNamespace {
    /// The initial namespace, whose root is the hierarchy's.
    pub fn initial() -> Self {
        Self {
            root: Some(String::new()),
        }
    }

    /// The namespace of this process. `own` returns the path of its cgroup from the hierarchy's root on, which /proc
    /// does not show in a namespace.
    pub fn detect(own: impl FnOnce() -> Option<String>) -> Self {
        if is_initial_cgroup_namespace() {
            return Self::initial();
        }
        let seen = fs::read_to_string("/proc/self/cgroup").ok();
        let seen = seen.and_then(|text| parse_memory_cgroup(&text));
        Self::from_paths(own().as_deref(), seen.as_deref())
    }

    /// The namespace of a process whose cgroup has the path `own` from the hierarchy's root on, and `seen` in the
    /// namespace.
    pub fn from_paths(own: Option<&str>, seen: Option<&str>) -> Self {
        let root = own.zip(seen).and_then(|(own, seen)| {
            let root = own.strip_suffix(seen.trim_end_matches('/'))?;
            Some(root.to_owned())
        });
        Self { root }
    }

    /// The [`absolute_path`](Self::absolute_path) of a path that /proc shows; where it is not known, `/…` and the names
    /// below the common ancestor with this process's namespace.
    pub fn display_path(&self, seen: &str) -> String {
        self.absolute_path(seen).unwrap_or_else(|| {
            let names = seen.split('/').filter(|name| !name.is_empty());
            let rest: Vec<&str> = names.skip_while(|name| *name == "..").collect();
            format!("/…/{}", rest.join("/"))
        })
    }

    /// A path that /proc shows, from the hierarchy's root on; `None` where the namespace's root is not known.
    pub fn absolute_path(&self, seen: &str) -> Option<String> {
        let root = self.root.as_deref()?;
        let mut names: Vec<&str> = root.split('/').filter(|name| !name.is_empty()).collect();
        for name in seen.split('/').filter(|name| !name.is_empty()) {
            if name == ".." {
                names.pop()?;
            } else {
                names.push(name);
            }
        }
        Some(format!("/{}", names.join("/")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_absolute() {
        let check = |own: &str, seen: &str, part: &str, path: Option<&str>| {
            let namespace = CgroupNamespace::from_paths(Some(own), Some(seen));
            assert_eq!(
                namespace.absolute_path(part).as_deref(),
                path,
                "{own} {seen} {part}"
            );
        };
        // A pod of a node that is a container, with the node's hierarchy mounted.
        let own = "/docker/n/kubepods/pod1/c";
        check(own, "/", "/../../../", Some("/docker/n"));
        check(own, "/", "/../../../../../", Some("/"));
        // A process of such a node.
        check(
            "/docker/n/system.slice/a.service",
            "/system.slice/a.service",
            "/",
            Some("/docker/n"),
        );
        check("/docker/n/x", "/x", "/below/", Some("/docker/n/below"));
        // The process was moved out of its namespace.
        check("/other", "/../other", "/", None);
        check("/a", "/", "/../../", None);
        let initial = CgroupNamespace::initial();
        assert_eq!(initial.absolute_path("/a/b").as_deref(), Some("/a/b"));
        let unknown = CgroupNamespace::from_paths(None, Some("/"));
        assert_eq!(unknown.absolute_path("/a"), None);
        assert_eq!(unknown.display_path("/../../pod1/c"), "/…/pod1/c");
        assert_eq!(initial.display_path("/pod1/c"), "/pod1/c");
    }
}
