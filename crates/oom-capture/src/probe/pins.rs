//! Where programs and maps stay while no agent runs: a directory on a bpffs.
//!
//! In it is one directory for each layout of what the maps hold, with the maps by their names and
//! the links by theirs and the moment at which they were made: an agent attaches its own programs
//! first and removes its predecessor's links then, so nothing goes unseen in between.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use aya::pin::PinError as AyaError;
use aya::programs::links::{FdLink, PinnedLink};

use service::clock;

/// `BPF_FS_MAGIC` of the kernel's include/uapi/linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Of what the programs of this build leave in the maps; `build.rs` makes it.
const LAYOUT: &str = env!("OOM_AGENT_LAYOUT");

/// The maps that outlive an agent. What tells which programs are attached is each agent's own.
pub(super) const MAPS: [&str; 6] = [
    "RECORDS",
    "MARKED",
    "INVOCATIONS",
    "DROPS",
    "UNTOLD",
    "TOLD",
];

/// What a link's name starts with.
const LINK: &str = "link-";

/// Why nothing can be pinned, or unpinned. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// There is another file system, or none.
    #[error(
        "{path} is not on a bpffs: name a directory on one, as /sys/fs/bpf/oom-agent after `mount -t bpf bpf /sys/fs/bpf`"
    )]
    NotBpffs {
        /// The directory, or its nearest ancestor that is there.
        path: PathBuf,
    },
    /// A second agent would read the first one's ring.
    #[error(
        "an agent that runs has its programs pinned in {path}: end that one first, or name another directory"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Mostly a missing right.
    #[error("cannot {action} {path}{}", remedy(.source))]
    Io {
        /// As in `cannot … PATH`.
        action: &'static str,
        /// Of what.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("cannot pin {path}")]
    Link {
        /// Where.
        path: PathBuf,
        /// What aya says.
        #[source]
        source: AyaError,
    },
}

/// An agent's own directory. No other agent has it meanwhile.
#[derive(Debug)]
pub(super) struct Pins {
    root: PathBuf,
    dir: PathBuf,
    /// Links of a predecessor, which still record.
    old: Vec<PathBuf>,
    /// Rings of another layout that were removed, with what was in them.
    pub(super) discarded: u64,
    /// Tells this agent's links from a predecessor's.
    made_ns: u64,
    /// Links that this kernel cannot pin.
    pub(super) unpinned: Vec<&'static str>,
    lock: Option<File>,
}

// === impl Pins ===

impl Pins {
    /// Takes the directory, and makes it where it is not there. `ring` is the size of the ring in
    /// bytes, which is part of the layout.
    pub(super) fn open(root: &Path, ring: u32) -> Result<Self, PinError> {
        is_bpffs(root)?;
        make(root)?;
        let lock = lock(root)?;
        let dir = root.join(format!("{LAYOUT}-{ring}"));
        let mut discarded = 0;
        for other in layouts(root)?.into_iter().filter(|path| *path != dir) {
            discarded += u64::from(other.join("RECORDS").exists());
            remove_layout(&other)?;
        }
        make(&dir)?;
        let is_link = |path: &PathBuf| {
            let name = path.file_name().and_then(OsStr::to_str);
            name.is_some_and(|name| name.starts_with(LINK))
        };
        let old = entries(&dir)?.into_iter().filter(is_link).collect();
        Ok(Self {
            root: root.to_owned(),
            dir,
            old,
            discarded,
            made_ns: clock::monotonic_ns(),
            unpinned: Vec::new(),
            lock: Some(lock),
        })
    }

    /// Where a map is, or is to be.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Keeps a program attached whatever becomes of this process.
    pub(super) fn pin(&self, program: &str, link: FdLink) -> Result<PinnedLink, PinError> {
        let path = self.dir.join(format!("{LINK}{program}-{}", self.made_ns));
        link.pin(&path)
            .map_err(|source| PinError::Link { path, source })
    }

    /// Whether there was a predecessor.
    pub(super) fn take_over(&mut self) -> Result<bool, PinError> {
        let took_over = !self.old.is_empty();
        for link in self.old.drain(..) {
            remove(&link)?;
        }
        Ok(took_over)
    }

    /// Gives the directory up, and what is in it.
    pub(super) fn discard(&mut self) -> Result<(), PinError> {
        self.discarded += u64::from(!self.old.is_empty());
        remove_layouts(&self.root)
    }

    /// To be held until nothing of this agent's is to come.
    pub(super) fn take_lock(&mut self) -> Option<File> {
        self.lock.take()
    }
}

/// Detaches and removes all that agents have pinned there, of every version. False when there is nothing.
pub fn unpin(root: &Path) -> Result<bool, PinError> {
    is_bpffs(root)?;
    if !root.exists() {
        return Ok(false);
    }
    let _lock = lock(root)?;
    remove_layouts(root)?;
    Ok(true)
}

/// An agent's directory is locked as long as it lives: on a bpffs there are no files for that, and
/// a directory's inode is the same in every container.
fn lock(root: &Path) -> Result<File, PinError> {
    let locked = File::open(root).map_err(|source| io_error("open", root, source))?;
    match locked.try_lock() {
        Ok(()) => Ok(locked),
        Err(TryLockError::WouldBlock) => Err(PinError::InUse {
            path: root.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(io_error("lock", root, source)),
    }
}

fn is_bpffs(root: &Path) -> Result<(), PinError> {
    let there = root.ancestors().find(|path| path.exists());
    let path = there.unwrap_or(Path::new("/"));
    let found =
        rustix::fs::statfs(path).map_err(|error| io_error("look at", path, error.into()))?;
    // Its type differs by architecture.
    if u64::try_from(found.f_type) == Ok(BPF_FS_MAGIC) {
        return Ok(());
    }
    Err(PinError::NotBpffs {
        path: path.to_owned(),
    })
}

fn make(dir: &Path) -> Result<(), PinError> {
    // What is pinned holds command lines.
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(io_error("make", dir, error))
        }
        _ => Ok(()),
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, PinError> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| io_error("list", dir, error))
}

/// The directories that agents have made there. Others' pins are none of ours.
fn layouts(root: &Path) -> Result<Vec<PathBuf>, PinError> {
    let mut found = entries(root)?;
    found.retain(|path| is_layout(path.file_name().and_then(OsStr::to_str)));
    Ok(found)
}

fn is_layout(name: Option<&str>) -> bool {
    let Some((layout, ring)) = name.and_then(|name| name.split_once('-')) else {
        return false;
    };
    layout.len() == LAYOUT.len()
        && layout.bytes().all(|byte| byte.is_ascii_hexdigit())
        && ring.parse::<u32>().is_ok()
}

/// The directory goes too, unless there is something else in it or it is where a bpffs is mounted.
fn remove_layouts(root: &Path) -> Result<(), PinError> {
    for dir in layouts(root)? {
        remove_layout(&dir)?;
    }
    match fs::remove_dir(root) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(io_error("remove", root, error))
        }
        _ => Ok(()),
    }
}

fn remove_layout(dir: &Path) -> Result<(), PinError> {
    for entry in entries(dir)? {
        remove(&entry)?;
    }
    fs::remove_dir(dir).map_err(|error| io_error("remove", dir, error))
}

fn remove(path: &Path) -> Result<(), PinError> {
    fs::remove_file(path).map_err(|error| io_error("remove", path, error))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> PinError {
    PinError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        ": run as the owner of that bpffs, which is mostly root"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_agents_have_made_is_theirs() {
        let own = format!("{LAYOUT}-1048576");
        assert!(is_layout(Some(&own)));
        assert!(is_layout(Some("0123456789abcdef-4194304")));
        for other in [
            "cilium",
            "tc",
            "0123456789abcdef",
            "0123456789abcdeg-1",
            "0123456789abcdef-x",
        ] {
            assert!(!is_layout(Some(other)), "{other}");
        }
        assert!(!is_layout(None));
    }

    #[test]
    fn another_file_system_is_told_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        for path in [dir.path(), &absent] {
            let told = Pins::open(path, 1).unwrap_err().to_string();
            assert!(told.contains("mount -t bpf bpf /sys/fs/bpf"), "{told}");
            assert!(matches!(unpin(path), Err(PinError::NotBpffs { .. })));
        }
        assert!(!absent.exists());
    }
}
