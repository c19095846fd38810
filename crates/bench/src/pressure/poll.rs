//! What a watcher like `OOMHero`'s third version reads of each container, ten times a second: usage and
//! limit, pressure, and of each process its `oom_score` and `oom_score_adj`. Files are opened anew,
//! as its are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use lab::interrupt;
use xtask::terminal;

const PERIOD: Duration = Duration::from_millis(100);

/// Flags of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The containers' cgroups.
    dirs: Vec<PathBuf>,
}

/// Polls until it is ended.
pub(crate) fn main(args: &Args) -> Result<()> {
    interrupt::catch()?;
    let mut due = Instant::now();
    let mut is_first = true;
    loop {
        let read: usize = args.dirs.iter().map(|dir| look(dir)).sum();
        std::hint::black_box(read);
        if is_first {
            terminal::line("polling");
            is_first = false;
        }
        due += PERIOD;
        interrupt::pause(due.saturating_duration_since(Instant::now()))?;
        due = due.max(Instant::now().checked_sub(PERIOD).unwrap_or(due));
    }
}

/// Bytes read.
fn look(dir: &Path) -> usize {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let v2 = dir.join("memory.current").exists();
    let (usage, limit, pressure) = if v2 {
        ("memory.current", "memory.max", dir.join("memory.pressure"))
    } else {
        (
            "memory.usage_in_bytes",
            "memory.limit_in_bytes",
            // All that cgroup v1 has.
            PathBuf::from("/proc/pressure/memory"),
        )
    };
    let mut len = read(dir.join(usage)).len() + read(dir.join(limit)).len() + read(pressure).len();
    for pid in read(dir.join("cgroup.procs")).lines() {
        let of = Path::new("/proc").join(pid);
        len += read(of.join("oom_score")).len() + read(of.join("oom_score_adj")).len();
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_container_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let me = std::process::id();
        for (name, text) in [
            ("memory.current", "12\n".to_owned()),
            ("memory.max", "max\n".to_owned()),
            ("memory.pressure", "some\n".to_owned()),
            ("cgroup.procs", format!("{me}\n")),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        assert!(look(dir.path()) > 3 + 4 + 5);
    }
}
