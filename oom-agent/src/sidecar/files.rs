//! The files of a cgroup as a sidecar sees them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use memcg::{MemoryStat, Version, parse_limit, parse_number, parse_psi, parse_stat};

use pressure::{CgroupKey, Pressure, Sample};

/// A cgroup's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    dir: PathBuf,
    version: Version,
}

/// A directory is no cgroup with a memory controller.
#[derive(Debug, thiserror::Error)]
#[error("{} has neither memory.current nor memory.usage_in_bytes: name a directory of the memory controller", .0.display())]
pub(crate) struct FilesError(PathBuf);

// === impl Files ===

impl Files {
    /// Of the one cgroup of `--cgroup`, by whatever path.
    pub(super) fn named(dir: &Path) -> Result<Self, FilesError> {
        // What is above `a/..` or a link is not what is above the cgroup.
        Self::open(&fs::canonicalize(dir).map_err(|_| FilesError(dir.to_owned()))?)
    }

    fn open(dir: &Path) -> Result<Self, FilesError> {
        Ok(Self {
            version: Version::detect(dir).ok_or_else(|| FilesError(dir.to_owned()))?,
            dir: dir.to_owned(),
        })
    }

    /// Of a process, as its own mount of the cgroups shows it: in a container of a private cgroup
    /// namespace the mount is the container's cgroup; else it lies at `path` below the mount.
    pub(super) fn of_process(root: &Path, path: &str) -> Option<Self> {
        let mount = root.join("sys/fs/cgroup");
        let below = path.trim_matches('/');
        let plain = !below.split('/').any(|name| matches!(name, "." | ".."));
        [mount.join("memory"), mount].into_iter().find_map(|mount| {
            if !below.is_empty()
                && plain
                && let Ok(files) = Self::open(&mount.join(below))
            {
                return Some(files);
            }
            Self::open(&mount).ok()
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The same for all processes of a cgroup, by whatever path they see it.
    pub(super) fn key(&self) -> Option<CgroupKey> {
        let dir = fs::metadata(&self.dir).ok()?;
        Some(CgroupKey::new(
            &format!("{}:{}", dir.dev(), dir.ino()),
            dir.ino(),
        ))
    }

    /// Measures usage and pressure, under the [limit](Self::read_limit) that is known. The
    /// [working set](Self::read_working_set) is left out: it costs more than all the rest.
    pub(super) fn sample(&self, at_ns: u64, limit: Option<u64>) -> Option<Sample> {
        let [usage, ..] = self.version.counter_files();
        let current = parse_number(&self.read(usage)?)?;
        Some(Sample {
            at_ns,
            current,
            working_set: current,
            limit,
            throttles: false,
            psi: self.read_pressure(),
        })
    }

    /// The lowest on the path up, as far as it is mounted here.
    pub(super) fn read_limit(&self) -> Option<u64> {
        if self.version == Version::V1 {
            // The kernel's own walk: past the mount, and not past a cgroup without `use_hierarchy`.
            return self.read_stat()?.limit;
        }
        // The root has no such file, nor has what the hierarchy is mounted in.
        let limits = self.dir.ancestors().map_while(|dir| {
            let text = fs::read_to_string(dir.join("memory.max")).ok()?;
            parse_limit(&text).ok()
        });
        limits.flatten().min()
    }

    /// `current` without `inactive_file`.
    pub(super) fn read_working_set(&self, current: u64) -> u64 {
        let stat = self.read_stat().unwrap_or_default();
        current.saturating_sub(stat.inactive_file)
    }

    fn read_stat(&self) -> Option<MemoryStat> {
        parse_stat(self.version, &self.read("memory.stat")?)
    }

    fn read_pressure(&self) -> Option<Pressure> {
        if self.version == Version::V1 {
            return None;
        }
        Some(Pressure {
            memory: parse_psi(&self.read("memory.pressure")?)?,
            io: parse_psi(&self.read("io.pressure")?)?,
            cpu: parse_psi(&self.read("cpu.pressure")?)?,
        })
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(name)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn a_private_namespaces_mount_is_the_containers_cgroup() {
        let root = tempfile::tempdir().unwrap();
        let psi = "some avg10=1.50 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        let files = [
            ("memory.current", "75\n"),
            ("memory.max", "100\n"),
            ("memory.stat", "anon 1\ninactive_file 25\n"),
            ("memory.pressure", psi),
            ("io.pressure", psi),
            ("cpu.pressure", psi),
        ];
        cgroup(&root.path().join("sys/fs/cgroup"), &files);
        for path in ["/", "/../x", "/kubepods/x"] {
            let files = Files::of_process(root.path(), path).unwrap();
            let sample = files.sample(9, files.read_limit()).unwrap();
            assert_eq!(
                (sample.current, sample.limit, sample.at_ns),
                (75, Some(100), 9)
            );
            assert_eq!(sample.psi.unwrap().io.some.avg10.0, 150);
            assert_eq!(files.read_working_set(75), 50);
        }
    }

    #[test]
    fn on_v1_the_lowest_limit_on_the_path_is_the_kernels_hierarchical_one() {
        let root = tempfile::tempdir().unwrap();
        let memory = root.path().join("sys/fs/cgroup/memory");
        let file = |own, lowest| {
            [
                ("memory.usage_in_bytes", "60\n"),
                ("memory.limit_in_bytes", own),
                ("memory.stat", lowest),
            ]
        };
        let none = "9223372036854771712\n";
        let without = "inactive_file 1\nhierarchical_memory_limit 9223372036854771712\n";
        let with = "inactive_file 1\nhierarchical_memory_limit 80\ntotal_inactive_file 7\n";
        cgroup(&memory, &file(none, without));
        cgroup(&memory.join("pod"), &file("90\n", with));
        cgroup(&memory.join("pod/a"), &file(none, with));
        cgroup(&memory.join("free"), &file(none, without));
        let limit = |path| Files::of_process(root.path(), path).unwrap().read_limit();
        assert_eq!(limit("/pod/a"), Some(80));
        assert_eq!(limit("/free"), None);
        assert_eq!(limit("/gone"), None);
        let pod = Files::named(&memory.join("pod")).unwrap();
        let sample = pod.sample(0, pod.read_limit()).unwrap();
        assert_eq!((sample.limit, sample.psi), (Some(80), None));
        assert_eq!(pod.read_working_set(60), 53);
    }

    #[test]
    fn on_v2_the_lowest_limit_up_to_the_mount_counts() {
        let root = tempfile::tempdir().unwrap();
        let mount = root.path().join("sys/fs/cgroup");
        let file = |max| [("memory.current", "60\n"), ("memory.max", max)];
        // Beside the mount, not above it.
        cgroup(root.path(), &[("memory.max", "1\n")]);
        cgroup(&mount, &[("memory.current", "60\n")]);
        cgroup(&mount.join("parent"), &file("64\n"));
        cgroup(&mount.join("parent/app"), &file("max\n"));
        cgroup(&mount.join("parent/app/own"), &file("32\n"));
        cgroup(&mount.join("free"), &file("max\n"));
        cgroup(&mount.join("free/tight"), &file("1\n"));
        cgroup(&mount.join("free/app"), &file("max\n"));
        let named = |path| Files::named(&mount.join(path)).unwrap().read_limit();
        assert_eq!(named("parent/app"), Some(64));
        assert_eq!(named("parent/app/own"), Some(32));
        assert_eq!(named("free/app"), None);
        assert_eq!(named("free/tight/../app"), None);
        let of_process = |path| Files::of_process(root.path(), path).unwrap().read_limit();
        assert_eq!(of_process("/parent/app"), Some(64));
        assert_eq!(of_process("/free/app"), None);
    }

    #[test]
    fn without_a_limit_there_is_none_and_what_is_no_cgroup_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("sys/fs/cgroup");
        cgroup(&dir, &[("memory.current", "75\n"), ("memory.max", "max\n")]);
        let files = Files::named(&dir).unwrap();
        let sample = files.sample(0, files.read_limit()).unwrap();
        assert_eq!((sample.limit, sample.psi), (None, None));
        let error = Files::named(root.path()).unwrap_err();
        assert!(error.to_string().contains("memory controller"), "{error}");
    }
}
