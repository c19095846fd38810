//! Which cgroups are containers: found by a walk, and kept true by inotify.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use memcg::{Hierarchy, NodeRoot, Version, cgroup};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::cgroup::is_limit;

/// Directories that are watched; each costs the kernel some 620 bytes, its inode included (6.18).
const WATCHES: usize = 8192;

/// How far down the walk goes.
const DEPTH: usize = 24;

/// Read at once; a directory's event has at most 272 bytes.
const BUFFER_LEN: usize = 16 << 10;

/// Every container below a root of the memory controller's hierarchy.
#[derive(Clone, Debug)]
pub struct Source {
    pub(crate) root: PathBuf,
    pub(crate) version: Version,
    pub(crate) node: NodeRoot,
}

/// What happened to a cgroup of that path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TreeEvent {
    Added(String),
    LimitChanged(String),
    /// Of `memory.events`.
    EventsChanged(String),
    Removed(String),
}

/// The directories, watched.
#[derive(Debug)]
pub(super) struct CgroupTree {
    source: Source,
    inotify: OwnedFd,
    nodes: HashMap<i32, Node>,
    by_path: HashMap<String, i32>,
    /// Directories that could not be watched.
    pub(super) unwatched: usize,
}

#[derive(Debug)]
struct Node {
    path: String,
    /// A container or a pod.
    watched: bool,
}

// === impl Source ===

impl Source {
    /// The node's part of that hierarchy.
    pub fn new(hierarchy: &Hierarchy) -> Self {
        Self {
            root: hierarchy.path().to_owned(),
            version: hierarchy.version(),
            node: hierarchy.node().clone(),
        }
    }

    /// The directory of a cgroup.
    pub fn dir(&self, path: &str) -> PathBuf {
        self.node.cgroup_dir(&self.root, path)
    }

    /// As the node sees it: where it is a container itself, it is none of its own.
    fn is_container(&self, path: &str) -> bool {
        self.node.path_on_node(path).is_some_and(is_container)
    }

    /// The same of a pod's own cgroup.
    pub(crate) fn is_pod(&self, path: &str) -> bool {
        self.node.path_on_node(path).is_some_and(is_pod)
    }
}

// === impl CgroupTree ===

impl CgroupTree {
    /// Walks once; each cgroup that is there is added.
    pub(super) fn open(source: Source, events: &mut Vec<TreeEvent>) -> io::Result<Self> {
        let mut tree = Self {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            nodes: HashMap::new(),
            by_path: HashMap::new(),
            unwatched: 0,
            source,
        };
        tree.walk(tree.source.node.path().to_owned(), events);
        Ok(tree)
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Reads what has happened since. False: more than the kernel has room for, so walk again.
    pub(super) fn read_events(&mut self, events: &mut Vec<TreeEvent>) -> io::Result<bool> {
        let mut buffer = [const { MaybeUninit::uninit() }; BUFFER_LEN];
        let mut raw = Vec::new();
        loop {
            let mut reader = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => {
                        let name = event.file_name().map(|name| name.to_string_lossy());
                        let name = name.map(std::borrow::Cow::into_owned).unwrap_or_default();
                        raw.push((event.wd(), event.events(), name));
                    }
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if raw.is_empty() {
                return Ok(true);
            }
            for (wd, flags, name) in raw.drain(..) {
                if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                    return Ok(false);
                }
                self.translate(wd, flags, &name, events);
            }
        }
    }

    fn translate(&mut self, wd: i32, flags: ReadFlags, name: &str, events: &mut Vec<TreeEvent>) {
        let Some(node) = self.nodes.get(&wd) else {
            return;
        };
        let below = || format!("{}/{name}", node.path);
        if flags.contains(ReadFlags::IGNORED) {
            let path = node.path.clone();
            self.remove(&path, events);
        } else if flags.contains(ReadFlags::CREATE | ReadFlags::ISDIR) {
            let below = below();
            self.walk(below, events);
        } else if flags.contains(ReadFlags::DELETE | ReadFlags::ISDIR) {
            let below = below();
            self.remove(&below, events);
        } else if node.watched && flags.contains(ReadFlags::MODIFY) {
            if is_limit(self.source.version, name) {
                events.push(TreeEvent::LimitChanged(node.path.clone()));
            } else if name == "memory.events" {
                events.push(TreeEvent::EventsChanged(node.path.clone()));
            }
        }
    }

    /// Watches a directory and all below it, each before it is listed: what is made meanwhile is
    /// listed, has an event, or both.
    fn walk(&mut self, from: String, events: &mut Vec<TreeEvent>) {
        let mut left = vec![from];
        while let Some(path) = left.pop() {
            let container = self.source.is_container(&path);
            let watched = container || self.source.is_pod(&path);
            if !self.watch(path.clone(), watched) {
                continue;
            }
            if container {
                events.push(TreeEvent::Added(path.clone()));
            } else if watched {
                events.push(TreeEvent::LimitChanged(path.clone()));
            }
            if path.matches('/').count() >= DEPTH {
                self.unwatched = self.unwatched.saturating_add(1);
                continue;
            }
            let below = std::fs::read_dir(self.source.dir(&path));
            let below = below.into_iter().flatten().flatten();
            let dirs = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            // The kernel allows any name; no container has one that is not UTF-8.
            let names = dirs.filter_map(|entry| entry.file_name().into_string().ok());
            left.extend(names.map(|name| format!("{path}/{name}")));
        }
    }

    /// False: it is not watched, because it is gone or there is no room.
    fn watch(&mut self, path: String, watched: bool) -> bool {
        let mut mask = WatchFlags::ONLYDIR | WatchFlags::CREATE | WatchFlags::DELETE;
        if watched {
            mask |= WatchFlags::MODIFY;
        }
        if self.nodes.len() >= WATCHES {
            self.unwatched = self.unwatched.saturating_add(1);
            return false;
        }
        match inotify::add_watch(&self.inotify, self.source.dir(&path), mask) {
            Ok(wd) => {
                if let Some(before) = self.by_path.insert(path.clone(), wd)
                    && before != wd
                {
                    self.nodes.remove(&before);
                    // Of a directory that is gone: the kernel may have removed it already.
                    let _removed = inotify::remove_watch(&self.inotify, before);
                }
                self.nodes.insert(wd, Node { path, watched });
                true
            }
            Err(Errno::NOENT) => false,
            Err(error) => {
                tracing::debug!(path, %error, "a cgroup is not watched");
                self.unwatched = self.unwatched.saturating_add(1);
                false
            }
        }
    }

    /// A directory is removed after all that were in it.
    fn remove(&mut self, path: &str, events: &mut Vec<TreeEvent>) {
        let Some(wd) = self.by_path.remove(path) else {
            return;
        };
        let node = self.nodes.remove(&wd);
        // The kernel may have removed it already.
        let _removed = inotify::remove_watch(&self.inotify, wd);
        if node.is_some_and(|node| node.watched) {
            events.push(TreeEvent::Removed(path.to_owned()));
        }
    }
}

impl AsFd for CgroupTree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// The pod's own cgroup.
pub(super) fn is_pod(path: &str) -> bool {
    let identity = cgroup::parse_path(path);
    let above = path.rsplit_once('/').map_or("", |(above, _)| above);
    identity.container_id.is_none()
        && identity.pod_uid.is_some()
        && cgroup::parse_path(above).pod_uid != identity.pod_uid
}

/// The container's own cgroup, none that it may have made below.
fn is_container(path: &str) -> bool {
    let Some(id) = cgroup::parse_path(path).container_id else {
        return false;
    };
    let above = path.rsplit_once('/').map_or("", |(above, _)| above);
    cgroup::parse_path(above).container_id != Some(id)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn id(n: u8) -> String {
        format!("{n:064x}")
    }

    fn scope(n: u8) -> String {
        format!("/docker-{}.scope", id(n))
    }

    struct Scene {
        root: tempfile::TempDir,
        tree: CgroupTree,
    }

    impl Scene {
        fn make(&self, path: &str) -> PathBuf {
            let dir = self.root.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(&dir).unwrap();
            dir
        }

        fn events(&mut self) -> Vec<TreeEvent> {
            let mut events = Vec::new();
            assert!(self.tree.read_events(&mut events).unwrap());
            events
        }
    }

    fn scene(before: &[&str]) -> (Scene, Vec<TreeEvent>) {
        scene_of("", before)
    }

    /// What is mounted is the part of the hierarchy that is the node's.
    fn scene_of(node: &str, before: &[&str]) -> (Scene, Vec<TreeEvent>) {
        let root = tempfile::tempdir().unwrap();
        for path in before {
            fs::create_dir_all(root.path().join(path.trim_start_matches('/'))).unwrap();
        }
        let mut events = Vec::new();
        let source = Source {
            root: root.path().to_owned(),
            version: Version::V2,
            node: NodeRoot::new(node),
        };
        let tree = CgroupTree::open(source, &mut events).unwrap();
        (Scene { root, tree }, events)
    }

    #[test]
    fn a_container_is_its_own_cgroup_and_none_below() {
        let uid = "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";
        let pod = format!("/kubepods/burstable/pod{uid}");
        assert!(!is_container(&pod) && is_pod(&pod));
        assert!(!is_pod(&format!("{pod}/{}", id(1))) && !is_pod(&format!("{pod}/of-its-own")));
        assert!(is_container(&format!("{pod}/{}", id(1))));
        assert!(!is_container(&format!("{pod}/{}/init.scope", id(1))));
        assert!(!is_container(&format!(
            "{pod}/{}/docker-{}.scope",
            id(1),
            id(2)
        )));
        assert!(!is_container("/system.slice/cron.service"));
    }

    #[test]
    fn cgroups_from_before_are_found() {
        let (scene, events) = scene(&[&scope(1), "/system.slice/cron.service"]);
        assert_eq!(events, [TreeEvent::Added(scope(1))]);
        assert_eq!(scene.tree.unwatched, 0);
    }

    #[test]
    fn paths_are_the_kernels_where_a_part_of_the_hierarchy_is_mounted() {
        // The node is a container, too, and none of its own.
        let node = format!("/docker/{}", id(9));
        let (mut scene, events) = scene_of(&node, &[&scope(1)]);
        assert_eq!(events, [TreeEvent::Added(format!("{node}{}", scope(1)))]);
        let dir = scene.make(&scope(2));
        let path = format!("{node}{}", scope(2));
        assert_eq!(scene.events(), [TreeEvent::Added(path.clone())]);
        fs::remove_dir(dir).unwrap();
        assert_eq!(scene.events(), [TreeEvent::Removed(path)]);
    }

    #[test]
    fn cgroups_are_added_and_removed() {
        let (mut scene, _) = scene(&[]);
        let path = format!("/machine.slice{}", scope(2));
        let dir = scene.make(&path);
        assert_eq!(scene.events(), [TreeEvent::Added(path.clone())]);
        fs::remove_dir(dir).unwrap();
        assert_eq!(scene.events(), [TreeEvent::Removed(path.clone())]);
        scene.make(&path);
        assert_eq!(scene.events(), [TreeEvent::Added(path)]);
    }

    #[test]
    fn limits_and_memory_events_have_events_and_nothing_else_has() {
        let (mut scene, _) = scene(&[&scope(3), "/system.slice"]);
        let dir = scene.make(&scope(3));
        fs::write(dir.join("memory.max"), "4096\n").unwrap();
        assert!(scene.events().contains(&TreeEvent::LimitChanged(scope(3))));
        fs::write(dir.join("memory.events"), "max 1\n").unwrap();
        assert!(scene.events().contains(&TreeEvent::EventsChanged(scope(3))));
        fs::write(dir.join("cgroup.procs"), "1\n").unwrap();
        fs::write(scene.make("/system.slice").join("memory.max"), "1\n").unwrap();
        assert_eq!(scene.events(), []);
    }

    #[test]
    fn the_limit_of_a_pod_and_a_memory_high_have_events() {
        let pod = "/kubepods/burstable/pod6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";
        let (mut scene, _) = scene(&[pod]);
        let dir = scene.make(pod);
        for name in ["memory.max", "memory.high"] {
            fs::write(dir.join(name), "4096\n").unwrap();
            assert!(
                scene
                    .events()
                    .contains(&TreeEvent::LimitChanged(pod.to_owned())),
                "{name}"
            );
        }
        fs::remove_dir_all(dir).unwrap();
        assert!(scene.events().contains(&TreeEvent::Removed(pod.to_owned())));
    }
}
