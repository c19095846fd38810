//! The memory controller's hierarchy, and where it is mounted.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::files::{ReadError, open_dir};
use crate::namespace::is_initial_cgroup_namespace;
use crate::node_root::NodeRoot;

/// The inode number of a hierarchy's root: `kernfs_create_root` in the kernel's `fs/kernfs/mount.c`.
const ROOT_INODE: u64 = 1;

const ADVICE: &str = "mount the host's /sys/fs/cgroup and name it with --cgroupfs";

/// The version of the cgroup interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The files are `memory.limit_in_bytes` and so on.
    V1,
    /// The files are `memory.max` and so on.
    V2,
}

/// The memory controller's hierarchy.
#[derive(Debug)]
pub struct Hierarchy {
    root: OwnedFd,
    path: PathBuf,
    version: Version,
    /// The cgroup that is mounted at `path`.
    node: NodeRoot,
}

/// Why there is no hierarchy to read. `Display` leaves the source out.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HierarchyError {
    #[error("cannot read {path} to find the memory controller's hierarchy")]
    Mounts {
        path: &'static str,
        source: io::Error,
    },
    #[error("the memory controller's hierarchy is not mounted: {ADVICE}")]
    NotMounted,
    #[error("only a part of the memory controller's hierarchy is mounted at {path}: {ADVICE}")]
    Part { path: PathBuf },
    #[error(
        "{path} is not the memory controller's hierarchy: it has neither cgroup.controllers nor memory.limit_in_bytes"
    )]
    NotAHierarchy { path: PathBuf },
    #[error("cannot open {path}")]
    Open { path: PathBuf, source: io::Error },
}

// === impl Version ===

impl Version {
    /// Of the memory controller's cgroup at that directory; `None` where it is no such cgroup.
    pub fn detect(dir: &Path) -> Option<Self> {
        let mut all = [Self::V1, Self::V2].into_iter();
        all.find(|version| {
            let [usage, ..] = version.counter_files();
            dir.join(usage).exists()
        })
    }

    /// The files of a cgroup's usage, limit and peak.
    pub fn counter_files(self) -> [&'static str; 3] {
        match self {
            Self::V1 => [
                "memory.usage_in_bytes",
                "memory.limit_in_bytes",
                "memory.max_usage_in_bytes",
            ],
            Self::V2 => ["memory.current", "memory.max", "memory.peak"],
        }
    }
}

// === impl Hierarchy ===

impl Hierarchy {
    /// Opens the hierarchy in the directory `named` or its subdirectory `memory`, or else the one in
    /// /proc/self/mountinfo.
    pub fn find(named: Option<&Path>) -> Result<Self, HierarchyError> {
        if let Some(path) = named {
            return Self::open(path).or_else(|error| match error {
                HierarchyError::NotAHierarchy { .. } => {
                    Self::open(&path.join("memory")).map_err(|_| error)
                }
                error => Err(error),
            });
        }
        Self::open(&find_mount(&read_mounts()?, is_initial_cgroup_namespace())?)
    }

    /// The directory at which it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of its files.
    pub fn version(&self) -> Version {
        self.version
    }

    fn open(path: &Path) -> Result<Self, HierarchyError> {
        let root = open_dir(CWD, path).map_err(|source| HierarchyError::Open {
            path: path.to_owned(),
            source: source.into(),
        })?;
        // Both files are in the root cgroup too.
        let version = if path.join("cgroup.controllers").exists() {
            Version::V2
        } else if path.join("memory.limit_in_bytes").exists() {
            Version::V1
        } else {
            return Err(HierarchyError::NotAHierarchy {
                path: path.to_owned(),
            });
        };
        Ok(Self {
            root,
            path: path.to_owned(),
            version,
            node: NodeRoot::default(),
        })
    }

    /// Whether it is mounted from its root on. Where several nodes share a kernel each has a part.
    pub fn is_whole(&self) -> bool {
        rustix::fs::fstat(&self.root).is_ok_and(|root| root.st_ino == ROOT_INODE)
    }

    /// The path of the cgroup that is mounted, as /proc shows it.
    pub fn mounted_part(&self) -> Result<Option<String>, HierarchyError> {
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        Ok(find_part(&read_mounts()?, &path))
    }

    /// Only the cgroups of this node are mounted.
    #[must_use]
    pub fn with_node(self, node: NodeRoot) -> Self {
        Self { node, ..self }
    }

    /// The node whose cgroups are mounted.
    pub fn node(&self) -> &NodeRoot {
        &self.node
    }

    pub(super) fn open_cgroup(&self, path: &str) -> Result<OwnedFd, ReadError> {
        let below = self.node.path_on_node(path).ok_or(ReadError::OtherNode)?;
        let below = below.trim_matches('/');
        // `/…` stands for missing names next to the root.
        if below
            .split('/')
            .any(|name| matches!(name, "." | ".." | "…"))
        {
            return Err(ReadError::IncompletePath);
        }
        let below = if below.is_empty() { "." } else { below };
        open_dir(&self.root, below).map_err(|error| ReadError::Failed {
            name: path.to_owned(),
            error,
        })
    }
}

fn read_mounts() -> Result<Vec<u8>, HierarchyError> {
    let path = "/proc/self/mountinfo";
    fs::read(path).map_err(|source| HierarchyError::Mounts { path, source })
}

/// The path of the cgroup whose directory is `path`, as this process's cgroup namespace shows it, by the mount that
/// `path` is in.
fn find_part(mountinfo: &[u8], path: &Path) -> Option<String> {
    let mounts = mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(parse_memory_mount);
    let above = mounts.filter(|(_, _, at)| path.starts_with(at));
    // Of several mounts at the same path the last hides the others.
    let (_, root, at) = above.max_by_key(|(_, _, at)| at.components().count())?;
    let below = path.strip_prefix(at).ok()?.to_str()?.to_owned();
    Some(format!("{}/{below}", String::from_utf8(root).ok()?))
}

/// Where the memory controller's hierarchy is mounted from its root on: `proc_pid_mountinfo(5)`.
fn find_mount(mountinfo: &[u8], initial_namespace: bool) -> Result<PathBuf, HierarchyError> {
    let mut mounts: Vec<(Version, usize, PathBuf)> = Vec::new();
    let mut part = None;
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let Some((version, root, path)) = parse_memory_mount(line) else {
            continue;
        };
        let names = root.split(|byte| *byte == b'/').filter(|n| !n.is_empty());
        // In a cgroup namespace, a root above the namespace's is shown as `/../..`.
        let mut above: usize = 0;
        let is_whole = names
            .inspect(|_| above = above.saturating_add(1))
            .all(|name| name == b"..");
        if is_whole && (initial_namespace || above > 0) {
            mounts.push((version, above, path));
        } else {
            part = Some(path);
        }
    }
    // On a hybrid host the controller is in the v1 hierarchy. Of several mounts the first is the system's: others may be
    // read-only, or be unmounted.
    let best = mounts.into_iter().rev().max_by_key(|(version, above, _)| {
        let v1 = *version == Version::V1;
        (v1, *above)
    });
    match (best, part) {
        (Some((_, _, path)), _) => Ok(path),
        (None, Some(path)) => Err(HierarchyError::Part { path }),
        (None, None) => Err(HierarchyError::NotMounted),
    }
}

/// The version, the root and the path of a mount, if its hierarchy can have the memory controller.
fn parse_memory_mount(line: &[u8]) -> Option<(Version, Vec<u8>, PathBuf)> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = words.iter().position(|word| *word == b"-")?;
    let kind = *words.get(dash.checked_add(1)?)?;
    let options = *words.get(dash.checked_add(3)?)?;
    let version = match kind {
        b"cgroup2" => Version::V2,
        b"cgroup" if options.split(|byte| *byte == b',').any(|o| o == b"memory") => Version::V1,
        _ => return None,
    };
    let path = PathBuf::from(OsString::from_vec(unescape_octal(words.get(4)?)));
    Some((version, unescape_octal(words.get(3)?), path))
}

/// mountinfo escapes blanks and backslashes by three octal digits.
fn unescape_octal(word: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((byte, after)) = rest.split_first() {
        let octal = (*byte == b'\\')
            .then(|| after.split_first_chunk::<3>())
            .flatten()
            .and_then(|(digits, after)| {
                let digits = std::str::from_utf8(digits).ok()?;
                Some((u8::from_str_radix(digits, 8).ok()?, after))
            });
        let (byte, after) = octal.unwrap_or((*byte, after));
        bytes.push(byte);
        rest = after;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory\n";
    const UNIFIED: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const CONTAINER: &str = "\
        30 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n\
        31 23 0:26 /../../../.. /host/my\\040cgroup ro - cgroup2 cgroup2 rw\n";
    const BOUND: &str = "30 23 0:26 /kubepods/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n";

    #[test]
    fn the_mount_from_the_root_on_is_found() {
        let check = |text: &str, initial, at: &str| {
            let found = find_mount(text.as_bytes(), initial).unwrap();
            assert_eq!(found, Path::new(at), "{text}");
        };
        check(HYBRID, true, "/sys/fs/cgroup/memory");
        check(UNIFIED, true, "/sys/fs/cgroup");
        // The hierarchy is mounted twice.
        let twice = format!("{HYBRID}90 23 0:32 / /mnt/memory ro - cgroup cgroup ro,memory\n");
        check(&twice, true, "/sys/fs/cgroup/memory");
        check(CONTAINER, false, "/host/my cgroup");
    }

    #[test]
    fn a_partial_mount_is_refused_with_a_remedy() {
        for (text, initial) in [(UNIFIED, false), (BOUND, true), (BOUND, false)] {
            let error = find_mount(text.as_bytes(), initial).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("part") && error.contains(ADVICE), "{error}");
        }
        let none = find_mount(b"31 23 0:28 / /x rw - tmpfs tmpfs rw\n\ngarbage", true).unwrap_err();
        assert!(matches!(none, HierarchyError::NotMounted), "{none}");
    }

    #[test]
    fn the_mounted_part_is_found() {
        let check = |text: &str, path: &str, part: Option<&str>| {
            let found = find_part(text.as_bytes(), Path::new(path));
            assert_eq!(found.as_deref(), part, "{text}");
        };
        check(HYBRID, "/sys/fs/cgroup/memory", Some("//"));
        check(HYBRID, "/elsewhere", None);
        check(BOUND, "/sys/fs/cgroup", Some("/kubepods/x/"));
        check(BOUND, "/sys/fs/cgroup/pod1", Some("/kubepods/x/pod1"));
        check(CONTAINER, "/host/my cgroup", Some("/../../../../"));
        let hidden = format!("{UNIFIED}31 23 0:26 /.. /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n");
        check(&hidden, "/sys/fs/cgroup", Some("/../"));
    }

    #[test]
    fn a_cgroup_of_another_node_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "memory\n").unwrap();
        fs::create_dir(dir.path().join("pod1")).unwrap();
        let node = Hierarchy::find(Some(dir.path())).unwrap();
        let node = node.with_node(NodeRoot::new("/docker/a"));
        assert!(node.open_cgroup("/docker/a/pod1").is_ok());
        assert!(node.open_cgroup("/docker/a").is_ok());
        assert!(matches!(
            node.open_cgroup("/docker/b/pod1"),
            Err(ReadError::OtherNode)
        ));
        assert!(!node.is_whole());
    }

    #[test]
    fn a_named_directory_must_be_a_hierarchy() {
        let dir = tempfile::tempdir().unwrap();
        let error = Hierarchy::find(Some(dir.path())).unwrap_err();
        assert!(
            matches!(error, HierarchyError::NotAHierarchy { .. }),
            "{error}"
        );
        let memory = dir.path().join("memory");
        fs::create_dir(&memory).unwrap();
        fs::write(memory.join("memory.limit_in_bytes"), "1\n").unwrap();
        let found = Hierarchy::find(Some(dir.path())).unwrap();
        assert_eq!((found.path(), found.version()), (&*memory, Version::V1));
        fs::write(dir.path().join("cgroup.controllers"), "memory\n").unwrap();
        let found = Hierarchy::find(Some(dir.path())).unwrap();
        assert_eq!((found.path(), found.version()), (dir.path(), Version::V2));
        let error = Hierarchy::find(Some(&dir.path().join("gone"))).unwrap_err();
        assert!(matches!(error, HierarchyError::Open { .. }), "{error}");
    }
}
