//! Small files of one directory, each read whole before a deadline.

use std::fmt;
use std::num::ParseIntError;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// The most that is read of one file, in bytes; `memory.stat` has some 2 KiB.
pub(super) const FILE_LEN: usize = 16 << 10;

/// From here on a limit is none: cgroup v1 shows `PAGE_COUNTER_MAX` pages, which is `i64::MAX` less
/// a part of a page, of 64 KiB at most.
const UNLIMITED: u64 = i64::MAX.unsigned_abs() - (64 << 10);

/// An open directory.
pub(super) struct Dir<'a> {
    fd: OwnedFd,
    deadline: Instant,
    buffer: &'a mut [u8; FILE_LEN],
}

/// Why something is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// No time was left.
    Late,
    /// It could not be opened or read.
    Failed { name: String, error: Errno },
    /// It has something else than what it should.
    Strange { name: &'static str },
    /// The path that is known of it is not one to open.
    Path,
    /// It lies outside of this node's part of the hierarchy.
    Elsewhere,
}

/// Fields of one entry that stay unknown.
pub(super) struct Gaps {
    entry: usize,
    /// It is the root cgroup, which lacks most files.
    pub(super) root: bool,
    late: Vec<&'static str>,
    said: Vec<String>,
}

// === impl Dir ===

impl<'a> Dir<'a> {
    pub(super) fn open(
        path: &Path,
        deadline: Instant,
        buffer: &'a mut [u8; FILE_LEN],
    ) -> Result<Self, Unread> {
        let fd = directory(CWD, path).map_err(|error| Unread::Failed {
            name: path.display().to_string(),
            error,
        })?;
        Ok(Self::new(fd, deadline, buffer))
    }

    pub(super) fn new(fd: OwnedFd, deadline: Instant, buffer: &'a mut [u8; FILE_LEN]) -> Self {
        Self {
            fd,
            deadline,
            buffer,
        }
    }

    /// The text of a file; of one that is too long, its beginning.
    pub(super) fn read(&mut self, name: &'static str) -> Result<&str, Unread> {
        if Instant::now() >= self.deadline {
            return Err(Unread::Late);
        }
        let failed = |error| Unread::Failed {
            name: name.to_owned(),
            error,
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(&self.fd, name, flags, Mode::empty()).map_err(failed)?;
        let mut len = 0;
        while let Some(rest) = self.buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match rustix::io::read(&file, rest) {
                Ok(0) => break,
                Ok(read) => len = len.saturating_add(read),
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let bytes = self.buffer.get(..len).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| Unread::Strange { name })
    }

    /// A file of one number.
    pub(super) fn number(&mut self, name: &'static str) -> Result<u64, Unread> {
        let text = self.read(name)?.trim_ascii();
        text.parse().map_err(|_| Unread::Strange { name })
    }

    /// A file of one limit; `None` where there is none.
    pub(super) fn limit(&mut self, name: &'static str) -> Result<Option<u64>, Unread> {
        limit(self.read(name)?).map_err(|_| Unread::Strange { name })
    }
}

/// A limit in bytes as either version writes it; `None` where there is none.
pub(crate) fn limit(text: &str) -> Result<Option<u64>, ParseIntError> {
    let text = text.trim_ascii();
    if text == "max" {
        return Ok(None);
    }
    let limit: u64 = text.parse()?;
    Ok((limit < UNLIMITED).then_some(limit))
}

/// Opens a directory for what is in it.
pub(super) fn directory(
    at: impl rustix::fd::AsFd,
    path: impl rustix::path::Arg,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::empty())
}

// === impl Unread ===

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("no time was left to read it"),
            Self::Failed { name, error } => {
                write!(f, "cannot read {name}: {}", std::io::Error::from(*error))
            }
            Self::Strange { name } => write!(f, "{name} is not what it should be"),
            Self::Path => f.write_str("its path is not known whole"),
            Self::Elsewhere => f.write_str("it lies outside of this node's cgroups"),
        }
    }
}

// === impl Gaps ===

impl Gaps {
    /// Of the entry `memory[entry]`.
    pub(super) fn new(entry: usize) -> Self {
        Self {
            entry,
            root: false,
            late: Vec::new(),
            said: Vec::new(),
        }
    }

    /// A field's value, or none and a note why.
    pub(super) fn take<T>(&mut self, field: &'static str, read: Result<T, Unread>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(Unread::Late) => {
                self.late.push(field);
                None
            }
            // What does not apply is no gap.
            Err(Unread::Failed { error, .. }) if self.root && error == Errno::NOENT => None,
            Err(unread) => {
                self.said
                    .push(format!("memory[{}].{field}: {unread}", self.entry));
                None
            }
        }
    }

    /// The same of a file that not every kernel has.
    pub(super) fn take_if_there<T>(
        &mut self,
        field: &'static str,
        read: Result<T, Unread>,
    ) -> Option<T> {
        match read {
            Err(Unread::Failed { error, .. }) if error == Errno::NOENT => None,
            read => self.take(field, read),
        }
    }

    /// Nothing of it can be read.
    pub(super) fn all(&mut self, unread: &Unread) {
        self.said.push(format!("memory[{}]: {unread}", self.entry));
    }

    /// Notes what was found: of a lack of time once.
    pub(super) fn say(mut self, degraded: &mut Vec<String>) {
        if !self.late.is_empty() {
            self.said.push(format!(
                "memory[{}]: no time was left for {}",
                self.entry,
                self.late.join(", ")
            ));
        }
        degraded.append(&mut self.said);
    }
}
