//! This process's cgroup namespace: /proc shows paths as seen from its root.

use std::fs;

/// `PROC_CGROUP_INIT_INO` of the kernel's `include/linux/proc_ns.h`.
const INITIAL: &str = "cgroup:[4026531835]";

/// A cgroup namespace, by the path of its root in the memory controller's hierarchy: `cgroup_namespaces(7)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupNamespace {
    /// Empty in the initial namespace; `None` where it cannot be told.
    root: Option<String>,
}

/// Whether this process sees the paths of cgroups as the kernel has them.
pub fn is_initial_cgroup_namespace() -> bool {
    let namespace = fs::read_link("/proc/self/ns/cgroup");
    namespace.is_ok_and(|namespace| namespace.as_os_str() == INITIAL)
}

/// `hierarchy:controllers:path` a line: the memory controller's (cgroup v1), else the unified one's (v2).
pub fn memory_cgroup(text: &str) -> Option<String> {
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
    /// The one whose paths are the kernel's.
    pub fn initial() -> Self {
        Self {
            root: Some(String::new()),
        }
    }

    /// That of this process. `own` tells the cgroup that it is in from the hierarchy's root on, which the
    /// namespace hides.
    pub fn find(own: impl FnOnce() -> Option<String>) -> Self {
        if is_initial_cgroup_namespace() {
            return Self::initial();
        }
        let seen = fs::read_to_string("/proc/self/cgroup").ok();
        let seen = seen.and_then(|text| memory_cgroup(&text));
        Self::of(own().as_deref(), seen.as_deref())
    }

    /// With a process in it whose cgroup is `own` from the hierarchy's root on, and `seen` in the namespace.
    pub fn of(own: Option<&str>, seen: Option<&str>) -> Self {
        let root = own.zip(seen).and_then(|(own, seen)| {
            let root = own.strip_suffix(seen.trim_end_matches('/'))?;
            Some(root.to_owned())
        });
        Self { root }
    }

    /// A path that /proc shows, as [`absolute`](Self::absolute) has it; where that cannot be told, `/…` and
    /// what it does not share with this process's namespace.
    pub fn shown(&self, seen: &str) -> String {
        self.absolute(seen).unwrap_or_else(|| {
            let names = seen.split('/').filter(|name| !name.is_empty());
            let rest: Vec<&str> = names.skip_while(|name| *name == "..").collect();
            format!("/…/{}", rest.join("/"))
        })
    }

    /// A path that /proc shows, from the hierarchy's root on; `None` where that cannot be told.
    pub fn absolute(&self, seen: &str) -> Option<String> {
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
            let namespace = CgroupNamespace::of(Some(own), Some(seen));
            assert_eq!(
                namespace.absolute(part).as_deref(),
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
        // It was moved out of its namespace.
        check("/other", "/../other", "/", None);
        check("/a", "/", "/../../", None);
        let initial = CgroupNamespace::initial();
        assert_eq!(initial.absolute("/a/b").as_deref(), Some("/a/b"));
        let unknown = CgroupNamespace::of(None, Some("/"));
        assert_eq!(unknown.absolute("/a"), None);
        assert_eq!(unknown.shown("/../../pod1/c"), "/…/pod1/c");
        assert_eq!(initial.shown("/pod1/c"), "/pod1/c");
    }
}
