//! The file: appended to, and written anew when most of it is of the past.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::ledger::Ledger;

/// Of the past, in bytes, before the file is written anew.
const PAST: u64 = 256 << 10;

/// More of a file than this is not read: nobody here writes one as large.
const LARGEST: u64 = 64 << 20;

/// Why nothing can be kept there. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    /// A second agent would offer what the first one is about to.
    #[error("an agent that runs keeps its state in {path}: name another directory")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Mostly a missing right, or a full disk.
    #[error("cannot {action} {path}")]
    Io {
        /// As in `cannot … PATH`.
        action: &'static str,
        /// Of what.
        path: PathBuf,
        /// What the system says.
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
    /// What the ledger took when the file was written anew.
    live: u64,
    /// A write failed in the middle: what follows would be of the same line.
    torn: bool,
    _lock: File,
}

// === impl Store ===

impl Store {
    /// Opens it, and makes what is not there. What cannot be read as lines is passed over.
    pub(super) fn open(dir: &Path) -> Result<(Self, Ledger), StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| io_error("make", dir, source))?;
        let lock = dir.join("lock");
        let locked = create(&lock).map_err(|source| io_error("open", &lock, source))?;
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
        let file = create(&path).map_err(|source| io_error("open", &path, source))?;
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

    /// Appends lines, which `ledger` knows already.
    pub(super) fn append(&mut self, lines: &[u8], ledger: &Ledger) -> io::Result<()> {
        if self.torn || self.len > self.live * 2 + PAST {
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
        let lines = ledger.lines();
        let new = self.path.with_extension("new");
        // What a killed agent has left of one.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = create(&new)?;
        file.write_all(&lines)?;
        std::fs::rename(&new, &self.path)?;
        self.file = file;
        self.len = lines.len() as u64;
        self.live = self.len;
        self.torn = false;
        Ok(())
    }
}

/// For nobody else to read; never through a link that somebody else has put there.
fn create(path: &Path) -> io::Result<File> {
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
