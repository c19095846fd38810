//! The files of a cgroup that a sidecar reads: its own container sees no more than those.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use memcg::{self, parse_cpu_psi, parse_psi};

use crate::pressure::{Key, Pressure, Usage};

/// A cgroup's directory, with the files of its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    dir: PathBuf,
    names: &'static Names,
}

#[derive(Debug, PartialEq, Eq)]
struct Names {
    current: &'static str,
    inactive_file: &'static str,
    pressure: bool,
}

const V1: Names = Names {
    current: "memory.usage_in_bytes",
    inactive_file: "total_inactive_file ",
    pressure: false,
};
const V2: Names = Names {
    current: "memory.current",
    inactive_file: "inactive_file ",
    pressure: true,
};

/// A directory is no cgroup with a memory controller.
#[derive(Debug, thiserror::Error)]
#[error("{} has neither memory.current nor memory.usage_in_bytes: name a directory of the memory controller", .0.display())]
pub struct FilesError(PathBuf);

// === impl Files ===

impl Files {
    /// Of the one cgroup that somebody named, by whatever path.
    pub(super) fn named(dir: &Path) -> Result<Self, FilesError> {
        // What is above `a/..` or a link is not what is above the cgroup.
        Self::of(&fs::canonicalize(dir).map_err(|_| FilesError(dir.to_owned()))?)
    }

    fn of(dir: &Path) -> Result<Self, FilesError> {
        let names = [&V1, &V2]
            .into_iter()
            .find(|names| dir.join(names.current).exists())
            .ok_or_else(|| FilesError(dir.to_owned()))?;
        Ok(Self {
            dir: dir.to_owned(),
            names,
        })
    }

    /// Of a process, as its own mount of the cgroups shows it: in a container of a private cgroup
    /// namespace the mount is the container's cgroup; else it lies at `path` below the mount.
    pub(super) fn seen_by(root: &Path, path: &str) -> Option<Self> {
        let mount = root.join("sys/fs/cgroup");
        let below = path.trim_matches('/');
        let plain = !below.split('/').any(|name| matches!(name, "." | ".."));
        [mount.join("memory"), mount].into_iter().find_map(|mount| {
            if !below.is_empty()
                && plain
                && let Ok(files) = Self::of(&mount.join(below))
            {
                return Some(files);
            }
            Self::of(&mount).ok()
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The same for all processes of a cgroup, by whatever path it is seen.
    pub(super) fn key(&self) -> Option<Key> {
        let dir = fs::metadata(&self.dir).ok()?;
        Some(Key::new(&format!("{}:{}", dir.dev(), dir.ino()), dir.ino()))
    }

    /// Where its processes are listed.
    pub(super) fn procs(&self) -> io::Result<Vec<u32>> {
        let text = fs::read_to_string(self.dir.join("cgroup.procs"))?;
        Ok(text.lines().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// One look, under the [limit](Self::limit) that is known of. What is reclaimed for nothing is
    /// [asked for](Self::working_set) apart: it costs more than all the rest.
    pub(super) fn usage(&self, at_ns: u64, limit: Option<u64>) -> Option<Usage> {
        let current = number(&self.dir.join(self.names.current))?;
        Some(Usage {
            at_ns,
            current,
            working_set: current,
            limit,
            throttles: false,
            psi: self.pressure(),
        })
    }

    /// The lowest on the path up, as far as it can be seen from here.
    pub(super) fn limit(&self) -> Option<u64> {
        if self.names == &V1 {
            // The kernel's own walk: past the mount, and not past a cgroup without `use_hierarchy`.
            return memcg::parse_limit(&self.stat("hierarchical_memory_limit ")?).ok()?;
        }
        // The root has no such file, nor has what the hierarchy is mounted in.
        let limits = self.dir.ancestors().map_while(|dir| {
            let text = fs::read_to_string(dir.join("memory.max")).ok()?;
            memcg::parse_limit(&text).ok()
        });
        limits.flatten().min()
    }

    /// `current` without `inactive_file`.
    pub(super) fn working_set(&self, current: u64) -> u64 {
        let inactive = self.stat(self.names.inactive_file);
        let inactive: u64 = inactive
            .and_then(|value| value.parse().ok())
            .unwrap_or_default();
        current.saturating_sub(inactive)
    }

    fn stat(&self, key: &str) -> Option<String> {
        let stat = fs::read_to_string(self.dir.join("memory.stat")).ok()?;
        let mut lines = stat.lines();
        lines.find_map(|line| Some(line.strip_prefix(key)?.to_owned()))
    }

    fn pressure(&self) -> Option<Pressure> {
        if !self.names.pressure {
            return None;
        }
        let text = |name| fs::read_to_string(self.dir.join(name)).ok();
        Some(Pressure {
            memory: parse_psi(&text("memory.pressure")?)?,
            io: parse_psi(&text("io.pressure")?)?,
            cpu: parse_cpu_psi(&text("cpu.pressure")?)?,
        })
    }
}

/// A file of one number.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim_ascii().parse().ok()
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
            let files = Files::seen_by(root.path(), path).unwrap();
            let usage = files.usage(9, files.limit()).unwrap();
            assert_eq!(
                (usage.current, usage.limit, usage.at_ns),
                (75, Some(100), 9)
            );
            assert_eq!(usage.psi.unwrap().io.some.avg10.0, 150);
            assert_eq!(files.working_set(75), 50);
        }
    }

    #[test]
    fn on_v1_the_kernel_says_which_limit_on_the_path_up_is_the_lowest() {
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
        let limit = |path| Files::seen_by(root.path(), path).unwrap().limit();
        assert_eq!(limit("/pod/a"), Some(80));
        assert_eq!(limit("/free"), None);
        assert_eq!(limit("/gone"), None);
        let pod = Files::named(&memory.join("pod")).unwrap();
        let usage = pod.usage(0, pod.limit()).unwrap();
        assert_eq!((usage.limit, usage.psi), (Some(80), None));
        assert_eq!(pod.working_set(60), 53);
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
        let named = |path| Files::named(&mount.join(path)).unwrap().limit();
        assert_eq!(named("parent/app"), Some(64));
        assert_eq!(named("parent/app/own"), Some(32));
        assert_eq!(named("free/app"), None);
        assert_eq!(named("free/tight/../app"), None);
        let seen = |path| Files::seen_by(root.path(), path).unwrap().limit();
        assert_eq!(seen("/parent/app"), Some(64));
        assert_eq!(seen("/free/app"), None);
    }

    #[test]
    fn without_a_limit_there_is_none_and_what_is_no_cgroup_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("sys/fs/cgroup");
        cgroup(&dir, &[("memory.current", "75\n"), ("memory.max", "max\n")]);
        let files = Files::named(&dir).unwrap();
        let usage = files.usage(0, files.limit()).unwrap();
        assert_eq!((usage.limit, usage.psi), (None, None));
        let error = Files::named(root.path()).unwrap_err();
        assert!(error.to_string().contains("memory controller"), "{error}");
    }
}
