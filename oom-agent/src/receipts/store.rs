//! The journal's file: appended to, and rewritten when most of it is settled.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::ledger::Ledger;

/// Settled lines, in bytes, before the file is rewritten.
const SETTLED: u64 = 256 << 10;

/// The most that is read: the agent writes no file as large.
const LARGEST: u64 = 64 << 20;

/// Why the directory cannot be used. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    /// Two agents would deliver the same incidents.
    #[error("an agent that runs keeps its state in {path}: name another directory")]
    InUse { path: PathBuf },
    /// Mostly a missing right, or a full disk.
    #[error("cannot {action} {path}")]
    Io {
        /// As in `cannot … PATH`.
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    file: File,
    len: u64,
    /// The length of the file when it was rewritten last.
    live: u64,
    /// A write failed in the middle of a line.
    torn: bool,
    _lock: File,
}

// === impl Store ===

impl Store {
    /// Creates what is missing. Lines that cannot be parsed are skipped.
    pub(super) fn open(dir: &Path) -> Result<(Self, Ledger), StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| io_error("make", dir, source))?;
        let lock = dir.join("lock");
        let locked = open_private(&lock).map_err(|source| io_error("open", &lock, source))?;
        match locked.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::InUse {
                    path: dir.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &lock, source)),
        }
        let path = dir.join("owed.jsonl");
        let file = open_private(&path).map_err(|source| io_error("open", &path, source))?;
        let mut bytes = Vec::new();
        (&file)
            .take(LARGEST)
            .read_to_end(&mut bytes)
            .map_err(|source| io_error("read", &path, source))?;
        let ledger = Ledger::read(&bytes);
        let mut store = Self {
            path,
            file,
            len: 0,
            live: 0,
            torn: true,
            _lock: locked,
        };
        store
            .rewrite(&ledger)
            .map_err(|source| io_error("write", &store.path, source))?;
        Ok((store, ledger))
    }

    /// Appends lines that `ledger` contains already.
    pub(super) fn append(&mut self, lines: &[u8], ledger: &Ledger) -> io::Result<()> {
        if self.torn || self.len > self.live * 2 + SETTLED {
            return self.rewrite(ledger);
        }
        let written = self.file.write_all(lines);
        self.torn = written.is_err();
        self.len += lines.len() as u64;
        written
    }

    /// The old file stands until the new one is whole.
    fn rewrite(&mut self, ledger: &Ledger) -> io::Result<()> {
        self.torn = true;
        let lines = ledger.encode_lines();
        let new = self.path.with_extension("new");
        // Left by a killed agent.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = open_private(&new)?;
        file.write_all(&lines)?;
        std::fs::rename(&new, &self.path)?;
        self.file = file;
        self.len = lines.len() as u64;
        self.live = self.len;
        self.torn = false;
        Ok(())
    }
}

/// Readable by the owner only, and never through a symlink that another user has planted.
fn open_private(path: &Path) -> io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits();
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(i32::try_from(no_follow).unwrap_or(0))
        .open(path)
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
