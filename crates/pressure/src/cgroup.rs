//! One cgroup's files, kept open: a sample is a `pread` of each.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use memcg::{MemoryStat, Version, parse_limit, parse_number, parse_psi, parse_stat};
use rustix::io::Errno;

use super::sample::{CgroupKey, Pressure, Sample};
use super::stuck::{self, NoVictimCause, OomState, StuckDetector};

/// Longer than any of the files.
const FILE_LEN: usize = 16 << 10;

/// `memory.stat` is read again after that many samples in which the usage was the same to a byte.
const STALE: u8 = 10;

/// The limits of the ancestors, of cgroup v2, are read again after that many samples.
const LIMITS_STALE: u8 = 60;

/// What every sample reads into.
#[derive(Debug)]
pub(super) struct Buffer(Box<[u8; FILE_LEN]>);

/// A cgroup whose usage is read again and again.
#[derive(Debug)]
pub(super) struct Cgroup {
    key: CgroupKey,
    dir: PathBuf,
    version: Version,
    current: File,
    stat: File,
    psi: Option<[File; 3]>,
    /// While it is open inotify has an event for each change of it.
    _events: Option<File>,
    limit: Option<Limit>,
    limit_age: u8,
    stat_cache: Option<CachedStat>,
    stuck: StuckDetector,
}

/// The last `memory.stat`.
#[derive(Clone, Copy, Debug)]
struct CachedStat {
    current: u64,
    stat: MemoryStat,
    age: u8,
}

/// The lowest limit of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) bytes: u64,
    /// `memory.high`.
    throttles: bool,
}

/// Why a cgroup could not be sampled: a file cannot be read, or has something else than what it should. `Display` leaves
/// the source out.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub(super) struct ReadError {
    path: PathBuf,
    source: io::Error,
}

// === impl Cgroup ===

impl Cgroup {
    /// `path` is the one of its key.
    pub(super) fn open(dir: &Path, path: &str, version: Version) -> Result<Self, ReadError> {
        let open = |name| File::open(dir.join(name)).map_err(|error| read_error(dir, name, error));
        let metadata = dir.metadata();
        let metadata = metadata.map_err(|error| read_error(dir, "", error))?;
        let v2 = version == Version::V2;
        let [usage, ..] = version.counter_files();
        Ok(Self {
            key: CgroupKey::new(path, metadata.ino()),
            version,
            current: open(usage)?,
            stat: open("memory.stat")?,
            // Without PSI (`psi=0`, `cgroup.pressure`), and on v1, there are none.
            psi: v2.then(|| open_psi(dir)).flatten(),
            _events: v2.then(|| open("memory.events").ok()).flatten(),
            limit: None,
            limit_age: LIMITS_STALE,
            stat_cache: None,
            stuck: StuckDetector::default(),
            dir: dir.to_owned(),
        })
    }

    pub(super) fn key(&self) -> &CgroupKey {
        &self.key
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The next sample reads all limits anew.
    pub(super) fn forget_limit(&mut self) {
        self.limit_age = LIMITS_STALE;
        self.stat_cache = None;
    }

    /// `now_ns` is `CLOCK_MONOTONIC`; a cgroup that is gone gives `ENODEV`.
    pub(super) fn sample(&mut self, buffer: &mut Buffer, now_ns: u64) -> Result<Sample, ReadError> {
        let [usage, ..] = self.version.counter_files();
        let current = buffer
            .parse(&self.current, parse_number)
            .map_err(|error| read_error(&self.dir, usage, error))?;
        let stat = self.read_stat(buffer, current)?;
        if self.version == Version::V1 {
            self.limit = stat.limit.map(Limit::max);
        } else if self.limit_age >= LIMITS_STALE {
            self.limit = read_lowest_limit(&self.dir, buffer)?;
            self.limit_age = 0;
        } else {
            self.limit_age = self.limit_age.saturating_add(1);
        }
        Ok(Sample {
            at_ns: now_ns,
            current,
            working_set: current.saturating_sub(stat.inactive_file),
            limit: self.limit.map(|limit| limit.bytes),
            throttles: self.limit.is_some_and(|limit| limit.throttles),
            psi: self.read_psi(buffer),
        })
    }

    /// Why no process of it is killed, where it is out of memory and that is so. Reads more files of a cgroup
    /// at its limit only.
    pub(super) fn detect_stuck(
        &mut self,
        sample: &Sample,
        buffer: &mut Buffer,
    ) -> Option<NoVictimCause> {
        let near = sample
            .limit
            .is_some_and(|limit| stuck::is_near(sample.current, limit));
        let state = near.then(|| self.read_oom_state(buffer)).flatten();
        self.stuck.update(state, sample.at_ns)
    }

    fn read_oom_state(&self, buffer: &mut Buffer) -> Option<OomState> {
        let mut text = |name: &str| {
            let file = File::open(self.dir.join(name)).ok()?;
            buffer.parse(&file, |text| Some(text.to_owned())).ok()
        };
        match self.version {
            Version::V1 => stuck::parse_oom_control(&text("memory.oom_control")?),
            Version::V2 => {
                stuck::parse_events(&text("memory.events.local")?, &text("memory.events")?)
            }
        }
    }

    /// The kernel sums up all descendants, 13 µs where the usage takes one (cgroup v1, 6.18): not for a
    /// cgroup that does nothing.
    fn read_stat(&mut self, buffer: &mut Buffer, current: u64) -> Result<MemoryStat, ReadError> {
        if let Some(cache) = &mut self.stat_cache
            && cache.current == current
            && cache.age < STALE
        {
            cache.age = cache.age.saturating_add(1);
            return Ok(cache.stat);
        }
        let stat = buffer
            .parse(&self.stat, |text| parse_stat(self.version, text))
            .map_err(|error| read_error(&self.dir, "memory.stat", error))?;
        self.stat_cache = Some(CachedStat {
            current,
            stat,
            age: 0,
        });
        Ok(stat)
    }

    /// Optional: an administrator may turn it off at any time.
    fn read_psi(&self, buffer: &mut Buffer) -> Option<Pressure> {
        let [memory, io, cpu] = self.psi.as_ref()?;
        let mut stall = |file| buffer.parse(file, parse_psi).ok();
        Some(Pressure {
            memory: stall(memory)?,
            io: stall(io)?,
            cpu: stall(cpu)?,
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
    /// Reads a whole file and parses it; `parse` returns `None` where it is not what it should be.
    fn parse<T>(&mut self, file: &File, parse: impl FnOnce(&str) -> Option<T>) -> io::Result<T> {
        let text = std::str::from_utf8(self.fill(file)?).ok();
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not what it should be");
        text.and_then(parse).ok_or_else(malformed)
    }

    fn fill(&mut self, file: &File) -> io::Result<&[u8]> {
        let mut len = 0;
        while let Some(rest) = self.0.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, len as u64) {
                // The kernel gives the whole file: less than there is room for is the end.
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

// === impl Limit ===

impl Limit {
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
pub(super) fn read_own_limit(
    dir: &Path,
    version: Version,
    buffer: &mut Buffer,
) -> Result<Option<Limit>, ReadError> {
    let [_, max, _] = version.counter_files();
    let max = read_limit(dir, max, buffer)?.map(Limit::max);
    let high = match version {
        Version::V1 => None,
        Version::V2 => read_limit(dir, HIGH, buffer).ok().flatten(),
    };
    let high = high.map(|bytes| Limit {
        bytes,
        throttles: true,
    });
    Ok(max.map(|max| max.lower(high)).or(high))
}

fn read_limit(dir: &Path, name: &str, buffer: &mut Buffer) -> Result<Option<u64>, ReadError> {
    File::open(dir.join(name))
        .and_then(|file| buffer.parse(&file, |text| parse_limit(text).ok()))
        .map_err(|error| read_error(dir, name, error))
}

/// Above it a cgroup of v2 is throttled.
const HIGH: &str = "memory.high";

/// Whether the file of that name holds a limit.
pub(super) fn is_limit(version: Version, name: &str) -> bool {
    let [_, max, _] = version.counter_files();
    name == max || (version == Version::V2 && name == HIGH)
}

/// The lowest limit on the path up, on v2: the root has no `memory.max`.
fn read_lowest_limit(dir: &Path, buffer: &mut Buffer) -> Result<Option<Limit>, ReadError> {
    let mut lowest = read_own_limit(dir, Version::V2, buffer)?;
    for above in dir.ancestors().skip(1) {
        let Ok(limit) = read_own_limit(above, Version::V2, buffer) else {
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

fn read_error(dir: &Path, name: &str, source: io::Error) -> ReadError {
    let path = dir.join(name);
    ReadError { path, source }
}

// === impl ReadError ===

impl ReadError {
    /// The cgroup is not there any more.
    pub(super) fn is_gone(&self) -> bool {
        is_gone(&self.source)
    }
}

/// These errors the files of a removed cgroup give.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NODEV | Errno::NOENT)
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use service::error_chain::chain;

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
        let sample = cgroup.sample(&mut buffer, 5).unwrap();
        assert_eq!((sample.at_ns, sample.current), (5, 1000));
        assert_eq!((sample.working_set, sample.limit), (700, Some(2000)));
        assert_eq!(sample.psi, None);
        fs::write(pod.join("memory.max"), "max\n").unwrap();
        assert_eq!(
            cgroup.sample(&mut buffer, 6).unwrap().limit,
            Some(2000),
            "not read yet"
        );
        cgroup.forget_limit();
        assert_eq!(cgroup.sample(&mut buffer, 7).unwrap().limit, Some(4000));
    }

    #[test]
    fn the_lower_of_max_and_high_is_the_limit() {
        let root = tempfile::tempdir().unwrap();
        let (pod, container) = (root.path().join("pod"), root.path().join("pod/container"));
        v2(&pod, "4000\n");
        v2(&container, "max\n");
        let mut buffer = Buffer::default();
        let mut limit = |pod_high: &str, own_high: &str| {
            fs::write(pod.join("memory.high"), pod_high).unwrap();
            fs::write(container.join("memory.high"), own_high).unwrap();
            let own = read_own_limit(&container, Version::V2, &mut buffer).unwrap();
            let mut cgroup = Cgroup::open(&container, "/pod/container", Version::V2).unwrap();
            let sample = cgroup.sample(&mut buffer, 5).unwrap();
            (own.is_some(), sample.limit, sample.throttles)
        };
        assert_eq!(limit("max\n", "max\n"), (false, Some(4000), false));
        assert_eq!(limit("max\n", "3000\n"), (true, Some(3000), true));
        assert_eq!(limit("2000\n", "3000\n"), (true, Some(2000), true));
        assert_eq!(limit("2000\n", "max\n"), (false, Some(2000), true));
        // At both the kernel kills.
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
        assert_eq!(cgroup.sample(&mut buffer, 0).unwrap().limit, Some(4000));
        fs::write(pod.join("memory.max"), "3000\n").unwrap();
        let samples =
            (1..=100).find(|n| cgroup.sample(&mut buffer, *n).unwrap().limit == Some(3000));
        assert_eq!(samples, Some(u64::from(LIMITS_STALE) + 1));
    }

    #[test]
    fn memory_stat_is_read_when_the_usage_changed_and_now_and_then() {
        let dir = tempfile::tempdir().unwrap();
        v2(dir.path(), "4000\n");
        let mut cgroup = Cgroup::open(dir.path(), "/x", Version::V2).unwrap();
        let mut buffer = Buffer::default();
        assert_eq!(cgroup.sample(&mut buffer, 0).unwrap().working_set, 700);
        fs::write(dir.path().join("memory.stat"), "inactive_file 100\n").unwrap();
        assert_eq!(cgroup.sample(&mut buffer, 1).unwrap().working_set, 700);
        fs::write(dir.path().join("memory.current"), "1001\n").unwrap();
        assert_eq!(cgroup.sample(&mut buffer, 2).unwrap().working_set, 901);
        fs::write(dir.path().join("memory.stat"), "inactive_file 101\n").unwrap();
        let samples = (0..100).find(|n| cgroup.sample(&mut buffer, *n).unwrap().working_set == 900);
        assert_eq!(samples, Some(u64::from(STALE)));
    }

    #[test]
    fn an_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let error = Cgroup::open(dir.path(), "/x", Version::V2).unwrap_err();
        assert!(error.to_string().ends_with("memory.current"), "{error}");
        assert!(error.is_gone());
        v2(dir.path(), "4000\n");
        fs::write(dir.path().join("memory.current"), "much\n").unwrap();
        let mut cgroup = Cgroup::open(dir.path(), "/x", Version::V2).unwrap();
        let error = cgroup.sample(&mut Buffer::default(), 0).unwrap_err();
        assert!(chain(&error).to_string().ends_with("not what it should be"));
        assert!(!error.is_gone());
    }
}
