//! Which cgroups are containers: found by a walk, and kept true by inotify.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use memcg::{NodeRoot, Version, cgroup};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::read::is_limit;

/// Directories that are watched; each costs the kernel some 620 bytes, its inode included (6.18).
const WATCHES: usize = 8192;

/// How far down the walk goes.
const DEPTH: usize = 24;

/// Told at once; a directory's event has at most 272 bytes.
const BUFFER_LEN: usize = 16 << 10;

/// What is watched.
#[derive(Clone, Debug)]
pub enum Source {
    /// Every container below a root of the memory controller's hierarchy.
    Containers {
        /// Where that is mounted.
        root: PathBuf,
        /// Which files it has.
        version: Version,
        /// Which part of the hierarchy that is.
        node: NodeRoot,
    },
    /// This one cgroup, whoever lives there.
    Named {
        /// Its directory.
        dir: PathBuf,
        /// Which files it has.
        version: Version,
    },
}

/// What happened to a cgroup of that path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Noticed {
    /// It is there.
    There(String),
    /// Its limit was written.
    Limit(String),
    /// Its `memory.events` changed.
    Hit(String),
    /// It was removed.
    Gone(String),
}

/// The directories, watched.
#[derive(Debug)]
pub(super) struct Tree {
    source: Source,
    inotify: OwnedFd,
    nodes: HashMap<i32, Node>,
    by_path: HashMap<String, i32>,
    /// Directories that could not be watched.
    pub(super) unwatched: u64,
}

#[derive(Debug)]
struct Node {
    path: String,
    /// A container or a pod.
    watched: bool,
}

// === impl Source ===

impl Source {
    /// The cgroup of a directory, whichever version it is of; `None` where it is no cgroup with a
    /// memory controller.
    pub fn named(dir: &Path) -> Option<Self> {
        let version = if dir.join("memory.current").exists() {
            Version::V2
        } else if dir.join("memory.usage_in_bytes").exists() {
            Version::V1
        } else {
            return None;
        };
        Some(Self::Named {
            dir: dir.to_owned(),
            version,
        })
    }

    pub(super) fn version(&self) -> Version {
        let (Self::Containers { version, .. } | Self::Named { version, .. }) = self;
        *version
    }

    /// The directory of a path that was noticed.
    pub(super) fn dir(&self, path: &str) -> PathBuf {
        match self {
            Self::Containers { root, node, .. } => node.cgroup_dir(root, path),
            Self::Named { dir, .. } => dir.clone(),
        }
    }

    /// As the node sees it: where it is a container itself, it is none of its own.
    fn is_container(&self, path: &str) -> bool {
        match self {
            Self::Containers { node, .. } => node.path_on_node(path).is_some_and(is_container),
            Self::Named { .. } => true,
        }
    }

    /// The same of a pod's own cgroup.
    pub(super) fn is_pod(&self, path: &str) -> bool {
        match self {
            Self::Containers { node, .. } => node.path_on_node(path).is_some_and(is_pod),
            Self::Named { .. } => false,
        }
    }

    /// Only a limit of its own counts: that of all pods together is no container's.
    pub(super) fn wants_own_limit(&self) -> bool {
        matches!(self, Self::Containers { .. })
    }
}

// === impl Tree ===

impl Tree {
    /// Walks once; what is there is noticed.
    pub(super) fn open(source: Source, noticed: &mut Vec<Noticed>) -> io::Result<Self> {
        let mut tree = Self {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            nodes: HashMap::new(),
            by_path: HashMap::new(),
            unwatched: 0,
            source,
        };
        match &tree.source {
            Source::Containers { node, .. } => tree.walk(node.path().to_owned(), noticed),
            Source::Named { dir, .. } => {
                let path = dir.display().to_string();
                tree.watch(path.clone(), true);
                noticed.push(Noticed::There(path));
            }
        }
        Ok(tree)
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// What has happened since. False: more than the kernel could remember, so walk again.
    pub(super) fn drain(&mut self, noticed: &mut Vec<Noticed>) -> io::Result<bool> {
        let mut buffer = [const { MaybeUninit::uninit() }; BUFFER_LEN];
        let mut told = Vec::new();
        loop {
            let mut reader = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => {
                        let name = event.file_name().map(|name| name.to_string_lossy());
                        let name = name.map(std::borrow::Cow::into_owned).unwrap_or_default();
                        told.push((event.wd(), event.events(), name));
                    }
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if told.is_empty() {
                return Ok(true);
            }
            for (wd, events, name) in told.drain(..) {
                if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                    return Ok(false);
                }
                self.take(wd, events, &name, noticed);
            }
        }
    }

    fn take(&mut self, wd: i32, events: ReadFlags, name: &str, noticed: &mut Vec<Noticed>) {
        let Some(node) = self.nodes.get(&wd) else {
            return;
        };
        let below = || format!("{}/{name}", node.path);
        if events.contains(ReadFlags::IGNORED) {
            let path = node.path.clone();
            self.forget(&path, noticed);
        } else if events.contains(ReadFlags::CREATE | ReadFlags::ISDIR) {
            let below = below();
            self.walk(below, noticed);
        } else if events.contains(ReadFlags::DELETE | ReadFlags::ISDIR) {
            let below = below();
            self.forget(&below, noticed);
        } else if node.watched && events.contains(ReadFlags::MODIFY) {
            if is_limit(self.source.version(), name) {
                noticed.push(Noticed::Limit(node.path.clone()));
            } else if name == "memory.events" {
                noticed.push(Noticed::Hit(node.path.clone()));
            }
        }
    }

    /// Watches a directory and all below it, each before it is listed: what is made meanwhile is
    /// listed, told of, or both.
    fn walk(&mut self, from: String, noticed: &mut Vec<Noticed>) {
        let mut left = vec![from];
        while let Some(path) = left.pop() {
            let container = self.source.is_container(&path);
            let watched = container || self.source.is_pod(&path);
            if !self.watch(path.clone(), watched) {
                continue;
            }
            if container {
                noticed.push(Noticed::There(path.clone()));
            } else if watched {
                noticed.push(Noticed::Limit(path.clone()));
            }
            if path.matches('/').count() >= DEPTH {
                self.unwatched = self.unwatched.saturating_add(1);
                continue;
            }
            let below = std::fs::read_dir(self.source.dir(&path));
            let below = below.into_iter().flatten().flatten();
            let dirs = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            // The kernel allows any name; one that is no text is no container's.
            let names = dirs.filter_map(|entry| entry.file_name().into_string().ok());
            left.extend(names.map(|name| format!("{path}/{name}")));
        }
    }

    /// False: it is not watched, because it is gone or there is no room.
    fn watch(&mut self, path: String, watched: bool) -> bool {
        let mut mask = WatchFlags::ONLYDIR;
        if matches!(self.source, Source::Containers { .. }) {
            mask |= WatchFlags::CREATE | WatchFlags::DELETE;
        }
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
    fn forget(&mut self, path: &str, noticed: &mut Vec<Noticed>) {
        let Some(wd) = self.by_path.remove(path) else {
            return;
        };
        let node = self.nodes.remove(&wd);
        // The kernel may have removed it already.
        let _removed = inotify::remove_watch(&self.inotify, wd);
        if node.is_some_and(|node| node.watched) {
            noticed.push(Noticed::Gone(path.to_owned()));
        }
    }
}

impl AsFd for Tree {
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
        tree: Tree,
    }

    impl Scene {
        fn make(&self, path: &str) -> PathBuf {
            let dir = self.root.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(&dir).unwrap();
            dir
        }

        fn noticed(&mut self) -> Vec<Noticed> {
            let mut noticed = Vec::new();
            assert!(self.tree.drain(&mut noticed).unwrap());
            noticed
        }
    }

    fn scene(before: &[&str]) -> (Scene, Vec<Noticed>) {
        scene_of("", before)
    }

    /// What is mounted is the part of the hierarchy that is the node's.
    fn scene_of(node: &str, before: &[&str]) -> (Scene, Vec<Noticed>) {
        let root = tempfile::tempdir().unwrap();
        for path in before {
            fs::create_dir_all(root.path().join(path.trim_start_matches('/'))).unwrap();
        }
        let mut noticed = Vec::new();
        let source = Source::Containers {
            root: root.path().to_owned(),
            version: Version::V2,
            node: NodeRoot::new(node),
        };
        let tree = Tree::open(source, &mut noticed).unwrap();
        (Scene { root, tree }, noticed)
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
    fn what_was_there_before_is_found() {
        let (scene, noticed) = scene(&[&scope(1), "/system.slice/cron.service"]);
        assert_eq!(noticed, [Noticed::There(scope(1))]);
        assert_eq!(scene.tree.unwatched, 0);
    }

    #[test]
    fn paths_are_the_kernels_where_a_part_of_the_hierarchy_is_mounted() {
        // The node is a container, too, and none of its own.
        let node = format!("/docker/{}", id(9));
        let (mut scene, noticed) = scene_of(&node, &[&scope(1)]);
        assert_eq!(noticed, [Noticed::There(format!("{node}{}", scope(1)))]);
        let dir = scene.make(&scope(2));
        let path = format!("{node}{}", scope(2));
        assert_eq!(scene.noticed(), [Noticed::There(path.clone())]);
        fs::remove_dir(dir).unwrap();
        assert_eq!(scene.noticed(), [Noticed::Gone(path)]);
    }

    #[test]
    fn what_comes_and_goes_is_told_of() {
        let (mut scene, _) = scene(&[]);
        let path = format!("/machine.slice{}", scope(2));
        let dir = scene.make(&path);
        assert_eq!(scene.noticed(), [Noticed::There(path.clone())]);
        fs::remove_dir(dir).unwrap();
        assert_eq!(scene.noticed(), [Noticed::Gone(path.clone())]);
        scene.make(&path);
        assert_eq!(scene.noticed(), [Noticed::There(path)]);
    }

    #[test]
    fn a_limit_that_is_written_and_a_count_that_rises_are_told_of_and_nothing_else() {
        let (mut scene, _) = scene(&[&scope(3), "/system.slice"]);
        let dir = scene.make(&scope(3));
        fs::write(dir.join("memory.max"), "4096\n").unwrap();
        assert!(scene.noticed().contains(&Noticed::Limit(scope(3))));
        fs::write(dir.join("memory.events"), "max 1\n").unwrap();
        assert!(scene.noticed().contains(&Noticed::Hit(scope(3))));
        fs::write(dir.join("cgroup.procs"), "1\n").unwrap();
        fs::write(scene.make("/system.slice").join("memory.max"), "1\n").unwrap();
        assert_eq!(scene.noticed(), []);
    }

    #[test]
    fn the_limit_of_a_pod_and_a_memory_high_are_told_of() {
        let pod = "/kubepods/burstable/pod6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";
        let (mut scene, _) = scene(&[pod]);
        let dir = scene.make(pod);
        for name in ["memory.max", "memory.high"] {
            fs::write(dir.join(name), "4096\n").unwrap();
            assert!(
                scene.noticed().contains(&Noticed::Limit(pod.to_owned())),
                "{name}"
            );
        }
        fs::remove_dir_all(dir).unwrap();
        assert!(scene.noticed().contains(&Noticed::Gone(pod.to_owned())));
    }

    #[test]
    fn a_named_cgroup_is_watched_whoever_lives_there() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Source::named(dir.path()).is_none());
        fs::write(dir.path().join("memory.usage_in_bytes"), "1\n").unwrap();
        let source = Source::named(dir.path()).unwrap();
        assert_eq!(source.version(), Version::V1);
        let mut noticed = Vec::new();
        let mut tree = Tree::open(source, &mut noticed).unwrap();
        let path = dir.path().display().to_string();
        assert_eq!(noticed, [Noticed::There(path.clone())]);
        noticed.clear();
        fs::write(dir.path().join("memory.limit_in_bytes"), "4096\n").unwrap();
        assert!(tree.drain(&mut noticed).unwrap());
        assert!(noticed.contains(&Noticed::Limit(path)));
    }
}
