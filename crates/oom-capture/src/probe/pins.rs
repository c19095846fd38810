//! Pins programs and maps in a directory on a bpffs, where they stay while no agent runs.
//!
//! It contains a directory for each layout of the maps' values, with the maps by their names and the links by their
//! names and the time when they were made. An agent attaches its own programs before it removes its predecessor's
//! links, so no kill goes unseen in between.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use aya::pin::PinError as AyaError;
use aya::programs::links::FdLink;

use service::clock;

/// `BPF_FS_MAGIC` of the kernel's include/uapi/linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// The layout of this build's maps, as a hash that `build.rs` makes.
const LAYOUT: &str = env!("OOM_AGENT_LAYOUT");

/// The maps that outlive an agent. `IN_USE` is not one: it has the programs that the present agent attached.
pub(super) const MAPS: [&str; 6] = [
    "RECORDS",
    "MARKED",
    "INVOCATIONS",
    "DROPS",
    "UNREPORTED",
    "REPORTED",
];

/// The prefix of links' names.
const LINK: &str = "link-";

/// Why programs cannot be pinned or unpinned. `Display` leaves the source out.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    #[error(
        "{path} is not on a bpffs: name a directory on one, such as /sys/fs/bpf/oom-agent after `mount -t bpf bpf /sys/fs/bpf`"
    )]
    NotBpffs { path: PathBuf },
    #[error(
        "a running agent has its programs pinned in {path}: end that one first, or name another directory"
    )]
    InUse { path: PathBuf },
    #[error("cannot {action} {path}{}", remedy(.source))]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot pin {path}")]
    Link { path: PathBuf, source: AyaError },
}

/// Whether the programs outlive the process.
#[derive(Debug, Default)]
pub struct PinStatus {
    /// False with the classic tracepoint, whose records must be handled at once, and without a bpffs.
    pub lasting: bool,
    /// Why there is no bpffs.
    pub refused: Option<PinError>,
    /// The ring of an earlier agent was taken over.
    pub took_over: bool,
    /// How many rings of another layout were removed unread.
    pub discarded: u64,
    /// The programs that this kernel detaches at the end of the process.
    pub unpinned: Vec<&'static str>,
}

/// An agent's directory, locked against other agents.
#[derive(Debug)]
pub(super) struct Pins {
    root: PathBuf,
    dir: PathBuf,
    /// The links of an earlier agent, whose programs still record.
    old: Vec<PathBuf>,
    discarded: u64,
    /// Distinguishes this agent's links from an earlier one's.
    made_ns: u64,
    lock: File,
}

// === impl Pins ===

impl Pins {
    /// Locks the directory, and makes it if it is absent. `ring` is the size of the ring in bytes, which is part of
    /// the layout.
    pub(super) fn open(root: &Path, ring: u32) -> Result<Self, PinError> {
        require_bpffs(root)?;
        make_dir(root)?;
        let lock = lock_dir(root)?;
        let dir = root.join(format!("{LAYOUT}-{ring}"));
        let mut discarded = 0;
        for other in list_layouts(root)?.into_iter().filter(|path| *path != dir) {
            discarded += u64::from(other.join("RECORDS").exists());
            remove_layout(&other)?;
        }
        make_dir(&dir)?;
        let is_link = |path: &PathBuf| {
            let name = path.file_name().and_then(OsStr::to_str);
            name.is_some_and(|name| name.starts_with(LINK))
        };
        let old = list_entries(&dir)?.into_iter().filter(is_link).collect();
        Ok(Self {
            root: root.to_owned(),
            dir,
            old,
            discarded,
            made_ns: clock::monotonic_ns(),
            lock,
        })
    }

    /// The path at which a map is pinned.
    pub(super) fn map_path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Keeps a program attached after the end of this process.
    pub(super) fn pin_link(&self, program: &str, link: FdLink) -> Result<(), PinError> {
        let path = self.dir.join(format!("{LINK}{program}-{}", self.made_ns));
        match link.pin(&path) {
            Ok(_pinned) => Ok(()),
            Err(source) => Err(PinError::Link { path, source }),
        }
    }

    /// Removes everything that agents have pinned in the directory. Returns how many rings were removed unread.
    pub(super) fn discard(self) -> Result<u64, PinError> {
        remove_layouts(&self.root)?;
        Ok(self.discarded + u64::from(!self.old.is_empty()))
    }

    /// Detaches an earlier agent's programs. Returns the lock, to be held until the last kill is settled.
    pub(super) fn take_over(self, status: &mut PinStatus) -> Result<File, PinError> {
        self.old.iter().try_for_each(|link| remove_file(link))?;
        status.lasting = true;
        status.took_over = !self.old.is_empty();
        status.discarded = self.discarded;
        Ok(self.lock)
    }
}

/// Detaches the programs and removes the maps that agents of any version have pinned in a directory. Returns `false`
/// where there is no directory.
pub fn unpin_all(root: &Path) -> Result<bool, PinError> {
    require_bpffs(root)?;
    if !root.exists() {
        return Ok(false);
    }
    let _lock = lock_dir(root)?;
    remove_layouts(root)?;
    Ok(true)
}

/// Locks the directory itself: a bpffs has no regular files, and the inode of a directory is the same in every
/// container.
fn lock_dir(root: &Path) -> Result<File, PinError> {
    let locked = File::open(root).map_err(|source| io_error("open", root, source))?;
    match locked.try_lock() {
        Ok(()) => Ok(locked),
        Err(TryLockError::WouldBlock) => Err(PinError::InUse {
            path: root.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(io_error("lock", root, source)),
    }
}

fn require_bpffs(root: &Path) -> Result<(), PinError> {
    let nearest = root.ancestors().find(|path| path.exists());
    let path = nearest.unwrap_or(Path::new("/"));
    let filesystem =
        rustix::fs::statfs(path).map_err(|error| io_error("look at", path, error.into()))?;
    // The type of `f_type` differs by architecture.
    if u64::try_from(filesystem.f_type) == Ok(BPF_FS_MAGIC) {
        return Ok(());
    }
    Err(PinError::NotBpffs {
        path: path.to_owned(),
    })
}

fn make_dir(dir: &Path) -> Result<(), PinError> {
    // The maps contain command lines.
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(io_error("make", dir, error))
        }
        _ => Ok(()),
    }
}

fn list_entries(dir: &Path) -> Result<Vec<PathBuf>, PinError> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| io_error("list", dir, error))
}

/// The directories that agents have made. Other programs' pins are left alone.
fn list_layouts(root: &Path) -> Result<Vec<PathBuf>, PinError> {
    let mut dirs = list_entries(root)?;
    dirs.retain(|path| is_layout(path.file_name().and_then(OsStr::to_str)));
    Ok(dirs)
}

fn is_layout(name: Option<&str>) -> bool {
    let Some((layout, ring)) = name.and_then(|name| name.split_once('-')) else {
        return false;
    };
    layout.len() == LAYOUT.len()
        && layout.bytes().all(|byte| byte.is_ascii_hexdigit())
        && ring.parse::<u32>().is_ok()
}

/// Removes the directory too, unless something else is in it or a bpffs is mounted at it.
fn remove_layouts(root: &Path) -> Result<(), PinError> {
    for dir in list_layouts(root)? {
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
    for entry in list_entries(dir)? {
        remove_file(&entry)?;
    }
    fs::remove_dir(dir).map_err(|error| io_error("remove", dir, error))
}

fn remove_file(path: &Path) -> Result<(), PinError> {
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
        ": run as the owner of that bpffs, mostly root"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_layout_directories_are_an_agents() {
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
    fn another_file_system_is_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        for path in [dir.path(), &absent] {
            let error = Pins::open(path, 1).unwrap_err().to_string();
            assert!(error.contains("mount -t bpf bpf /sys/fs/bpf"), "{error}");
            assert!(matches!(unpin_all(path), Err(PinError::NotBpffs { .. })));
        }
        assert!(!absent.exists());
    }
}
