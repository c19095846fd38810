//! Small files of one directory, each read before a deadline.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::memory::Pressure;
use crate::parse::{parse_limit, parse_number, parse_psi};

/// The most bytes that are read of a file; `memory.stat` has some 2 KiB.
pub(super) const FILE_LEN: usize = 16 << 10;

/// An open directory.
pub(super) struct Dir<'a> {
    fd: OwnedFd,
    deadline: Instant,
    buffer: &'a mut [u8; FILE_LEN],
}

/// Why a file was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadError {
    #[error("no time was left to read it")]
    DeadlinePassed,
    #[error("cannot read {name}: {}", std::io::Error::from(*error))]
    Failed { name: String, error: Errno },
    #[error("{name} is not what it should be")]
    Malformed { name: &'static str },
    /// Names of the cgroup's path are missing.
    #[error("its path is not known whole")]
    IncompletePath,
    #[error("it lies outside of this node's cgroups")]
    OtherNode,
}

/// Fields of an entry that could not be read.
pub(super) struct Gaps {
    entry: usize,
    /// The entry is of the root cgroup, which lacks most files.
    pub(super) is_root: bool,
    late: Vec<&'static str>,
    reasons: Vec<String>,
}

// === impl Dir ===

impl<'a> Dir<'a> {
    pub(super) fn open(
        path: &Path,
        deadline: Instant,
        buffer: &'a mut [u8; FILE_LEN],
    ) -> Result<Self, ReadError> {
        let fd = open_dir(CWD, path).map_err(|error| ReadError::Failed {
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

    /// The text of a file; the beginning of a too long one.
    pub(super) fn read_file(&mut self, name: &'static str) -> Result<&str, ReadError> {
        if Instant::now() >= self.deadline {
            return Err(ReadError::DeadlinePassed);
        }
        let failed = |error| ReadError::Failed {
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
        std::str::from_utf8(bytes).map_err(|_| ReadError::Malformed { name })
    }

    pub(super) fn read_number(&mut self, name: &'static str) -> Result<u64, ReadError> {
        parse_number(self.read_file(name)?).ok_or(ReadError::Malformed { name })
    }

    pub(super) fn read_psi(&mut self, name: &'static str) -> Result<Pressure, ReadError> {
        parse_psi(self.read_file(name)?).ok_or(ReadError::Malformed { name })
    }

    /// `None` without a limit.
    pub(super) fn read_limit(&mut self, name: &'static str) -> Result<Option<u64>, ReadError> {
        parse_limit(self.read_file(name)?).map_err(|_| ReadError::Malformed { name })
    }
}

pub(super) fn open_dir(
    at: impl rustix::fd::AsFd,
    path: impl rustix::path::Arg,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::empty())
}

// === impl Gaps ===

impl Gaps {
    /// `entry` is the index in `memory`.
    pub(super) fn new(entry: usize) -> Self {
        Self {
            entry,
            is_root: false,
            late: Vec::new(),
            reasons: Vec::new(),
        }
    }

    /// The value of a field, or `None` and a reason.
    pub(super) fn value_or_gap<T>(
        &mut self,
        field: &'static str,
        read: Result<T, ReadError>,
    ) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(ReadError::DeadlinePassed) => {
                self.late.push(field);
                None
            }
            // A field that does not apply is no gap.
            Err(ReadError::Failed { error, .. }) if self.is_root && error == Errno::NOENT => None,
            Err(error) => {
                self.reasons
                    .push(format!("memory[{}].{field}: {error}", self.entry));
                None
            }
        }
    }

    /// The value of a field whose file not every kernel has; an absent file is no gap.
    pub(super) fn value_if_present<T>(
        &mut self,
        field: &'static str,
        read: Result<T, ReadError>,
    ) -> Option<T> {
        match read {
            Err(ReadError::Failed { error, .. }) if error == Errno::NOENT => None,
            read => self.value_or_gap(field, read),
        }
    }

    /// No field can be read.
    pub(super) fn add_entry(&mut self, error: &ReadError) {
        self.reasons
            .push(format!("memory[{}]: {error}", self.entry));
    }

    /// Appends the reasons, with one for all fields for which no time was left.
    pub(super) fn append_to(mut self, degraded: &mut Vec<String>) {
        if !self.late.is_empty() {
            self.reasons.push(format!(
                "memory[{}]: no time was left for {}",
                self.entry,
                self.late.join(", ")
            ));
        }
        degraded.append(&mut self.reasons);
    }
}
