//! One cgroup's files, kept open: a look is a `pread` each.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use memcg::Version;
use rustix::io::Errno;

use super::files;
use super::stuck::{self, Stuck};
use super::usage::{Key, Pressure, Stall, Usage};
use crate::stuck::NoVictimCause;

/// Longer than any of the files.
const FILE_LEN: usize = 16 << 10;

/// `memory.stat` is read again after that many passes in which the usage was the same to a page.
const STALE: u8 = 10;

/// The limits of the ancestors, of cgroup v2, are read again after that many passes.
const LIMITS_STALE: u8 = 60;

/// What every look reads into.
#[derive(Debug)]
pub(super) struct Buffer(Box<[u8; FILE_LEN]>);

/// A cgroup whose usage is read again and again.
#[derive(Debug)]
pub(super) struct Cgroup {
    key: Key,
    dir: PathBuf,
    version: Version,
    current: File,
    stat: File,
    psi: Option<[File; 3]>,
    /// With an open file the kernel tells of each change of it.
    _events: Option<File>,
    limit: Option<Bound>,
    limit_age: u8,
    known: Option<Known>,
    stuck: Stuck,
}

/// What the last `memory.stat` told.
#[derive(Clone, Copy, Debug)]
struct Known {
    current: u64,
    stat: files::Stat,
    age: u8,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) bytes: u64,
    /// `memory.high`.
    throttles: bool,
}

/// Why a cgroup could not be looked at. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The file could not be opened or read.
    #[error("cannot read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It has something else than what it should.
    #[error("{path} is not what it should be")]
    Strange {
        /// Which.
        path: PathBuf,
    },
}

// === impl Cgroup ===

impl Cgroup {
    /// `path` is what it is called in its key.
    pub(super) fn open(dir: &Path, path: &str, version: Version) -> Result<Self, ReadError> {
        let open = |name: &str| File::open(dir.join(name)).map_err(|e| failed(dir, name, e));
        let metadata = dir.metadata().map_err(|source| ReadError::File {
            path: dir.to_owned(),
            source,
        })?;
        let v2 = version == Version::V2;
        Ok(Self {
            key: Key::new(path, metadata.ino()),
            version,
            current: open(current_name(version))?,
            stat: open("memory.stat")?,
            // Without PSI (`psi=0`, `cgroup.pressure`), and on v1, there are none.
            psi: v2.then(|| open_psi(dir)).flatten(),
            _events: v2.then(|| open("memory.events").ok()).flatten(),
            limit: None,
            limit_age: LIMITS_STALE,
            known: None,
            stuck: Stuck::default(),
            dir: dir.to_owned(),
        })
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The next look reads all limits anew.
    pub(super) fn forget_limit(&mut self) {
        self.limit_age = LIMITS_STALE;
        self.known = None;
    }

    /// A look. `now_ns` is `CLOCK_MONOTONIC`; a cgroup that is gone gives `ENODEV`.
    pub(super) fn read(&mut self, buffer: &mut Buffer, now_ns: u64) -> Result<Usage, ReadError> {
        let name = current_name(self.version);
        let text = buffer.fill(&self.current);
        let text = text.map_err(|error| failed(&self.dir, name, error))?;
        let current = files::number(text).ok_or_else(|| strange(&self.dir, name))?;
        let stat = self.stat(buffer, current)?;
        if self.version == Version::V1 {
            self.limit = stat.limit.map(Bound::max);
        } else if self.limit_age >= LIMITS_STALE {
            self.limit = lowest(&self.dir, buffer)?;
            self.limit_age = 0;
        } else {
            self.limit_age = self.limit_age.saturating_add(1);
        }
        Ok(Usage {
            at_ns: now_ns,
            current,
            working_set: current.saturating_sub(stat.inactive_file),
            limit: self.limit.map(|bound| bound.bytes),
            throttles: self.limit.is_some_and(|bound| bound.throttles),
            psi: self.psi(buffer),
        })
    }

    /// Why nobody is killed in it, where it is out of memory and that is so. Reads more files of a cgroup
    /// at its limit only.
    pub(super) fn stuck(&mut self, usage: &Usage, buffer: &mut Buffer) -> Option<NoVictimCause> {
        let near = usage
            .limit
            .is_some_and(|limit| stuck::is_near(usage.current, limit));
        let told = near.then(|| self.oom_told(buffer)).flatten();
        self.stuck.look(told, usage.at_ns)
    }

    fn oom_told(&self, buffer: &mut Buffer) -> Option<stuck::Told> {
        let mut text = |name: &str| {
            let file = File::open(self.dir.join(name)).ok()?;
            String::from_utf8(buffer.fill(&file).ok()?.to_vec()).ok()
        };
        match self.version {
            Version::V1 => stuck::disabled(&text("memory.oom_control")?),
            Version::V2 => stuck::counts(&text("memory.events.local")?, &text("memory.events")?),
        }
    }

    /// Has the kernel sum up all descendants, 13 µs where the usage takes one (cgroup v1, 6.18): not
    /// for a cgroup that does nothing.
    fn stat(&mut self, buffer: &mut Buffer, current: u64) -> Result<files::Stat, ReadError> {
        if let Some(known) = &mut self.known
            && known.current == current
            && known.age < STALE
        {
            known.age = known.age.saturating_add(1);
            return Ok(known.stat);
        }
        let name = "memory.stat";
        let text = buffer.fill(&self.stat);
        let text = text.map_err(|error| failed(&self.dir, name, error))?;
        let stat = files::stat(self.version, text).ok_or_else(|| strange(&self.dir, name))?;
        self.known = Some(Known {
            current,
            stat,
            age: 0,
        });
        Ok(stat)
    }

    /// Read or not: an administrator may turn it off at any time.
    fn psi(&self, buffer: &mut Buffer) -> Option<Pressure> {
        let [memory, io, cpu] = self.psi.as_ref()?;
        let mut stall =
            |file, is_cpu| -> Option<Stall> { files::stall(is_cpu, buffer.fill(file).ok()?) };
        Some(Pressure {
            memory: stall(memory, false)?,
            io: stall(io, false)?,
            cpu: stall(cpu, true)?,
        })
    }
}

// === impl Buffer ===

impl Default for Buffer {
    fn default() -> Self {
        Self(Box::new([0; FILE_LEN]))
    }
}

impl Buffer {
    fn fill(&mut self, file: &File) -> io::Result<&[u8]> {
        let mut len = 0;
        while let Some(rest) = self.0.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, len as u64) {
                // What the kernel shows comes whole: less than there is room for is the end.
                Ok(read) if read < rest.len() => {
                    len = len.saturating_add(read);
                    break;
                }
                Ok(read) => len = len.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.0.get(..len).unwrap_or_default())
    }
}

// === impl Bound ===

impl Bound {
    fn max(bytes: u64) -> Self {
        Self {
            bytes,
            throttles: false,
        }
    }

    fn lower(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.bytes < self.bytes => other,
            _ => self,
        }
    }
}

/// Its own limit, the lower of two; `None` where it has none.
pub(super) fn own_limit(
    dir: &Path,
    version: Version,
    buffer: &mut Buffer,
) -> Result<Option<Bound>, ReadError> {
    let max = limit_in(dir, limit_name(version), buffer)?.map(Bound::max);
    let high = match version {
        Version::V1 => None,
        Version::V2 => limit_in(dir, HIGH, buffer).ok().flatten(),
    };
    let high = high.map(|bytes| Bound {
        bytes,
        throttles: true,
    });
    Ok(max.map(|max| max.lower(high)).or(high))
}

fn limit_in(dir: &Path, name: &str, buffer: &mut Buffer) -> Result<Option<u64>, ReadError> {
    let file = File::open(dir.join(name)).map_err(|error| failed(dir, name, error))?;
    let text = buffer.fill(&file).map_err(|e| failed(dir, name, e))?;
    files::limit(text).map_err(|_| strange(dir, name))
}

/// From where on a cgroup of v2 is throttled.
const HIGH: &str = "memory.high";

/// Whether the file of that name holds a limit.
pub(super) fn is_limit(version: Version, name: &str) -> bool {
    name == limit_name(version) || (version == Version::V2 && name == HIGH)
}

/// The file that holds a cgroup's own limit.
fn limit_name(version: Version) -> &'static str {
    match version {
        Version::V1 => "memory.limit_in_bytes",
        Version::V2 => "memory.max",
    }
}

fn current_name(version: Version) -> &'static str {
    match version {
        Version::V1 => "memory.usage_in_bytes",
        Version::V2 => "memory.current",
    }
}

/// The lowest limit on the path up, on v2: the root has no `memory.max`.
fn lowest(dir: &Path, buffer: &mut Buffer) -> Result<Option<Bound>, ReadError> {
    let mut lowest = own_limit(dir, Version::V2, buffer)?;
    for above in dir.ancestors().skip(1) {
        let Ok(limit) = own_limit(above, Version::V2, buffer) else {
            break;
        };
        lowest = lowest.map(|lowest| lowest.lower(limit)).or(limit);
    }
    Ok(lowest)
}

fn open_psi(dir: &Path) -> Option<[File; 3]> {
    let open = |name: &str| File::open(dir.join(name)).ok();
    Some([
        open("memory.pressure")?,
        open("io.pressure")?,
        open("cpu.pressure")?,
    ])
}

fn failed(dir: &Path, name: &str, source: io::Error) -> ReadError {
    ReadError::File {
        path: dir.join(name),
        source,
    }
}

fn strange(dir: &Path, name: &str) -> ReadError {
    ReadError::Strange {
        path: dir.join(name),
    }
}

// === impl ReadError ===

impl ReadError {
    /// The cgroup is not there any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::File { source, .. } if is_gone(source))
    }
}

/// So it is with the files of a cgroup that is removed.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NODEV | Errno::NOENT)
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn v2(dir: &Path, max: &str) {
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        fs::create_dir_all(dir).unwrap();
        write("memory.max", max);
        write("memory.current", "1000\n");
        write("memory.stat", "inactive_file 300\n");
    }

    #[test]
    fn the_lowest_limit_on_the_path_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let (pod, container) = (root.path().join("pod"), root.path().join("pod/container"));
        v2(&pod, "2000\n");
        v2(&container, "4000\n");
        let mut cgroup = Cgroup::open(&container, "/pod/container", Version::V2).unwrap();
        let mut buffer = Buffer::default();
        let usage = cgroup.read(&mut buffer, 5).unwrap();
        assert_eq!((usage.at_ns, usage.current), (5, 1000));
        assert_eq!((usage.working_set, usage.limit), (700, Some(2000)));
        assert_eq!(usage.psi, None);
        fs::write(pod.join("memory.max"), "max\n").unwrap();
        assert_eq!(
            cgroup.read(&mut buffer, 6).unwrap().limit,
            Some(2000),
            "not read yet"
        );
        cgroup.forget_limit();
        assert_eq!(cgroup.read(&mut buffer, 7).unwrap().limit, Some(4000));
    }

    #[test]
    fn what_throttles_first_is_the_limit() {
        let root = tempfile::tempdir().unwrap();
        let (pod, container) = (root.path().join("pod"), root.path().join("pod/container"));
        v2(&pod, "4000\n");
        v2(&container, "max\n");
        let mut buffer = Buffer::default();
        let mut limit = |pod_high: &str, own_high: &str| {
            fs::write(pod.join("memory.high"), pod_high).unwrap();
            fs::write(container.join("memory.high"), own_high).unwrap();
            let own = own_limit(&container, Version::V2, &mut buffer).unwrap();
            let mut cgroup = Cgroup::open(&container, "/pod/container", Version::V2).unwrap();
            let usage = cgroup.read(&mut buffer, 5).unwrap();
            (own.is_some(), usage.limit, usage.throttles)
        };
        assert_eq!(limit("max\n", "max\n"), (false, Some(4000), false));
        assert_eq!(limit("max\n", "3000\n"), (true, Some(3000), true));
        assert_eq!(limit("2000\n", "3000\n"), (true, Some(2000), true));
        assert_eq!(limit("2000\n", "max\n"), (false, Some(2000), true));
        // Who reaches both is killed.
        assert_eq!(limit("4000\n", "5000\n"), (true, Some(4000), false));
    }

    #[test]
    fn a_limit_above_is_noticed_in_time() {
        let root = tempfile::tempdir().unwrap();
        let (pod, container) = (root.path().join("pod"), root.path().join("pod/container"));
        v2(&pod, "max\n");
        v2(&container, "4000\n");
        let mut cgroup = Cgroup::open(&container, "/pod/container", Version::V2).unwrap();
        let mut buffer = Buffer::default();
        assert_eq!(cgroup.read(&mut buffer, 0).unwrap().limit, Some(4000));
        fs::write(pod.join("memory.max"), "3000\n").unwrap();
        let passes = (1..=100).find(|n| cgroup.read(&mut buffer, *n).unwrap().limit == Some(3000));
        assert_eq!(passes, Some(u64::from(LIMITS_STALE) + 1));
    }

    #[test]
    fn memory_stat_is_read_when_the_usage_changed_and_now_and_then() {
        let dir = tempfile::tempdir().unwrap();
        v2(dir.path(), "4000\n");
        let mut cgroup = Cgroup::open(dir.path(), "/x", Version::V2).unwrap();
        let mut buffer = Buffer::default();
        assert_eq!(cgroup.read(&mut buffer, 0).unwrap().working_set, 700);
        fs::write(dir.path().join("memory.stat"), "inactive_file 100\n").unwrap();
        assert_eq!(cgroup.read(&mut buffer, 1).unwrap().working_set, 700);
        fs::write(dir.path().join("memory.current"), "1001\n").unwrap();
        assert_eq!(cgroup.read(&mut buffer, 2).unwrap().working_set, 901);
        fs::write(dir.path().join("memory.stat"), "inactive_file 101\n").unwrap();
        let looks = (0..100).find(|n| cgroup.read(&mut buffer, *n).unwrap().working_set == 900);
        assert_eq!(looks, Some(u64::from(STALE)));
    }

    #[test]
    fn what_is_no_cgroup_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Cgroup::open(dir.path(), "/x", Version::V2).unwrap_err();
        assert!(error.to_string().ends_with("memory.current"), "{error}");
        assert!(error.is_gone());
        v2(dir.path(), "4000\n");
        fs::write(dir.path().join("memory.current"), "much\n").unwrap();
        let mut cgroup = Cgroup::open(dir.path(), "/x", Version::V2).unwrap();
        let error = cgroup.read(&mut Buffer::default(), 0).unwrap_err();
        assert!(error.to_string().contains("is not what it should be"));
        assert!(!error.is_gone());
    }
}
