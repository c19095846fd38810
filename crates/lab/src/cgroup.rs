//! A cgroup with a memory limit, on cgroup v1 and v2.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{self, HANG};

/// A cgroup of this process's own, limited in memory and without swap. Dropping
/// it kills what runs in it and removes it.
#[derive(Debug)]
pub struct Cgroup {
    dir: PathBuf,
    path: String,
}

impl Cgroup {
    /// Makes one with a limit in bytes.
    pub fn new(limit_bytes: u64) -> Result<Self> {
        let name = format!("oom-bonker-{}-{}", std::process::id(), serial());
        Self::make(&name, limit_bytes)
    }

    /// Makes one whose path is that of a container, and gives the container's id.
    pub fn of_container(limit_bytes: u64) -> Result<(Self, String)> {
        // Unlike another's from its first digits on.
        let id = format!("{:04x}{:08x}{:052x}", serial(), std::process::id(), 0);
        let cgroup = Self::make(&format!("docker-{id}.scope"), limit_bytes)?;
        Ok((cgroup, id))
    }

    fn make(name: &str, limit_bytes: u64) -> Result<Self> {
        let Hierarchy { mount, root } = Hierarchy::of_memory()?;
        // Fails in v1, and where the controller is delegated already, or cannot be: then the limit below fails.
        let _ = fs::write(mount.join("cgroup.subtree_control"), "+memory");
        let cgroup = Self {
            dir: mount.join(name),
            path: format!("{}/{name}", root.trim_end_matches('/')),
        };
        cgroup.make_anew(limit_bytes)?;
        Ok(cgroup)
    }

    /// Kills what runs in it and removes it, as the end of a service does.
    pub fn remove(&self) -> Result<()> {
        remove(&self.dir)
    }

    /// Makes it again where it was.
    pub fn make_anew(&self, limit_bytes: u64) -> Result<()> {
        make(&self.dir)?;
        set_limit(&self.dir, limit_bytes)?;
        self.set_if_there("memory.memsw.limit_in_bytes", &limit_bytes.to_string())?;
        self.set_if_there("memory.swap.max", "0")
    }

    /// Makes one without a limit below this one.
    pub fn below(&self, name: &str) -> Result<Self> {
        self.set_if_there("cgroup.subtree_control", "+memory")?;
        let dir = self.dir.join(name);
        make(&dir)?;
        Ok(Self {
            path: format!("{}/{name}", self.path),
            dir,
        })
    }

    /// Its path from the hierarchy's root, as the kernel gives it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A command whose process enters this cgroup and then becomes `program`,
    /// so that the child's pid is the program's. Arguments are yet to be added.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        entering(&self.dir, program)
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that a process's id is written to, to have it enter.
    pub fn procs(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// How many processes in it were OOM-killed, by the kernel's own count.
    pub fn oom_kills(&self) -> Result<u64> {
        count_kills(&self.dir)
    }

    /// v1 is without v2's files, and kernels without swap accounting are without those of swap.
    fn set_if_there(&self, file: &str, value: &str) -> Result<()> {
        let path = self.dir.join(file);
        if path.exists() {
            write(&path, value)?;
        }
        Ok(())
    }
}

/// In v2 or v1.
fn set_limit(dir: &Path, bytes: u64) -> Result<()> {
    let files = ["memory.max", "memory.limit_in_bytes"].map(|file| dir.join(file));
    let file = files.iter().find(|file| file.exists());
    let file = file.with_context(|| format!("no limit of memory in {}", dir.display()))?;
    write(file, &bytes.to_string())
}

fn write(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("write {value} to {}", path.display()))
}

fn make(dir: &Path) -> Result<()> {
    fs::create_dir(dir).with_context(|| format!("make the cgroup {}", dir.display()))
}

/// How many processes were OOM-killed in the cgroup of that path, see [`Cgroup::path`].
pub fn oom_kills_in(path: &str) -> Result<u64> {
    count_kills(&dir_of(path)?)
}

/// `oom_kill N` in v1's `memory.oom_control` (Linux 4.13), in v2's `memory.events.local` (5.2).
fn count_kills(dir: &Path) -> Result<u64> {
    let files = ["memory.oom_control", "memory.events.local"];
    let text = files
        .iter()
        .find_map(|file| fs::read_to_string(dir.join(file)).ok());
    text.as_deref()
        .and_then(kills)
        .with_context(|| format!("the kernel's count of kills in {}", dir.display()))
}

fn kills(text: &str) -> Option<u64> {
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    count.trim().parse().ok()
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.dir) {
            xtask::terminal::error(&error);
        }
    }
}

/// Distinguishes this process's cgroups.
fn serial() -> u32 {
    static MADE: AtomicU32 = AtomicU32::new(0);
    MADE.fetch_add(1, Ordering::Relaxed)
}

/// Kills what runs in the cgroup, waits until it is gone, and removes it.
fn remove(dir: &Path) -> Result<()> {
    wait::until(&format!("removal of {}", dir.display()), HANG, || {
        let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        for pid in procs
            .lines()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        {
            let _ = kill_process(pid, Signal::KILL);
        }
        match fs::remove_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => None,
            _ => Some(()),
        }
    })
}

/// Removes every cgroup of that name at the top of any hierarchy, with all below
/// it, and kills what still runs there.
pub(crate) fn remove_trees(name: &str) -> Result<()> {
    let mountinfo = mountinfo()?;
    mounts(&mountinfo).try_for_each(|(_, found)| remove_tree(&found.mount.join(name)))
}

fn remove_tree(top: &Path) -> Result<()> {
    for entry in fs::read_dir(top).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    remove(top)
}

/// Limits the memory of a cgroup that is there, by its path from the hierarchy's
/// root.
pub fn limit(path: &str, bytes: u64) -> Result<()> {
    set_limit(&dir_of(path)?, bytes)
}

/// Makes a cgroup of that path from the hierarchy's root, with a limit in bytes.
pub(crate) fn make_limited(path: &str, bytes: u64) -> Result<()> {
    make(&dir_of(path)?)?;
    limit(path, bytes)
}

/// A command whose process enters the cgroup of that path, which is there, and then becomes `program`.
pub(crate) fn command_in(path: &str, program: &str) -> Result<Command> {
    Ok(entering(&dir_of(path)?, program))
}

fn entering(dir: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#])
        .arg(dir)
        .arg(program);
    command
}

/// The directory of a cgroup, by its path from the hierarchy's root.
fn dir_of(path: &str) -> Result<PathBuf> {
    let Hierarchy { mount, root } = Hierarchy::of_memory()?;
    let below = path.strip_prefix(root.trim_end_matches('/'));
    Ok(mount.join(below.unwrap_or(path).trim_start_matches('/')))
}

/// Makes a cgroup of that name at the top of every hierarchy, with the CPUs and
/// memory nodes of the whole machine: a kubelet makes its own below it.
pub(crate) fn make_tops(name: &str) -> Result<()> {
    for (_, Hierarchy { mount, .. }) in mounts(&mountinfo()?) {
        let top = mount.join(name);
        make(&top)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = fs::read_to_string(mount.join(file)) {
                write(&top.join(file), &all)?;
            }
        }
    }
    Ok(())
}

/// A mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// Which part of the hierarchy is mounted there.
    root: String,
}

/// What a hierarchy is for: v1's memory controller limits memory where it is mounted, else v2 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Memory,
    V2,
    Other,
}

impl Hierarchy {
    fn of_memory() -> Result<Self> {
        let mountinfo = mountinfo()?;
        let best = mounts(&mountinfo).min_by_key(|(kind, _)| *kind);
        let best = best.filter(|(kind, _)| *kind != Kind::Other);
        let (_, found) =
            best.context("no cgroup hierarchy with the memory controller is mounted")?;
        Ok(found)
    }
}

fn mountinfo() -> Result<String> {
    fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")
}

/// The cgroup hierarchies in a mountinfo, see `proc_pid_mountinfo(5)`:
/// `36 35 0:31 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory`
fn mounts(mountinfo: &str) -> impl Iterator<Item = (Kind, Hierarchy)> {
    mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, mount) = (before.next()?, before.next()?);
        let mut after = after.split([' ', ',']);
        let kind = match after.next()? {
            "cgroup2" => Kind::V2,
            "cgroup" if after.any(|option| option == "memory") => Kind::Memory,
            "cgroup" => Kind::Other,
            _ => return None,
        };
        let (mount, root) = (mount.into(), root.to_owned());
        Some((kind, Hierarchy { mount, root }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_either_version() {
        assert_eq!(
            kills("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"),
            Some(7)
        );
        assert_eq!(
            kills("low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n"),
            Some(2)
        );
        assert_eq!(kills("oom_kill_disable 0\n"), None);
    }

    #[test]
    fn hierarchies_of_a_hybrid_host() {
        let found = mounts(
            "24 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
             36 35 0:31 / /sys/fs/cgroup/memory rw,nosuid shared:9 master:3 - cgroup cgroup rw,memory\n\
             37 35 0:32 /docker/abc /sys/fs/cgroup/cpu rw - cgroup none rw,cpu,cpuacct\n\
             45 35 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
             broken line - cgroup\n",
        );
        let expected = [
            (Kind::Memory, "/sys/fs/cgroup/memory", "/"),
            (Kind::Other, "/sys/fs/cgroup/cpu", "/docker/abc"),
            (Kind::V2, "/sys/fs/cgroup/unified", "/"),
        ];
        let expected = expected.map(|(kind, mount, root)| {
            let (mount, root) = (mount.into(), root.to_owned());
            (kind, Hierarchy { mount, root })
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}
