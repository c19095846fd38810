use std::fs;
use std::process::{Child, Command, Stdio};

use super::*;
use pressure::Level;

const SECOND_NS: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;

/// A directory like that of a cgroup with one process in it.
struct Cgroup {
    dir: tempfile::TempDir,
    child: Child,
}

impl Cgroup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("2147483647").stdout(Stdio::null());
        let child = sleep.spawn().unwrap();
        let cgroup = Self { dir, child };
        cgroup.fill();
        cgroup
    }

    fn fill(&self) {
        self.write("cgroup.procs", &self.child.id().to_string());
        self.charge(0, 0);
        self.write("memory.max", &(100 * MIB).to_string());
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }

    /// Charges so many MiB to it, some of which are inactive page cache.
    fn charge(&self, mib: u64, cache: u64) {
        self.write("memory.current", &(mib * MIB).to_string());
        self.write("memory.stat", &format!("inactive_file {}\n", cache * MIB));
    }

    fn watch(&self) -> WatchedProcesses {
        self.watch_by(Thresholds::default())
    }

    fn watch_by(&self, thresholds: Thresholds) -> WatchedProcesses {
        WatchedProcesses::new(thresholds, Some(self.dir.path()), Duration::from_secs(1)).unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn seconds(forecast: Option<Duration>) -> Option<u64> {
    forecast.map(|left| left.as_secs())
}

#[test]
fn a_crossing_has_the_time_that_is_left() {
    let cgroup = Cgroup::new();
    let mut watched = cgroup.watch();
    for second in 0..7 {
        cgroup.charge(40 + 5 * second, 0);
        let crossings = watched.sweep(second * SECOND_NS);
        assert!(crossings.is_empty(), "at {second} s");
    }
    // Between two recorded samples: a crossing records one.
    cgroup.charge(75, 0);
    let crossings = watched.sweep(7 * SECOND_NS - SECOND_NS / 10);
    let [crossed] = crossings.as_slice() else {
        panic!("{} crossings", crossings.len());
    };
    assert_eq!(crossed.crossing.level, Level::Warning);
    assert_eq!(seconds(crossed.crossing.forecast), Some(5));
}

#[test]
fn metrics_have_the_time_that_is_left_while_it_grows() {
    let cgroup = Cgroup::new();
    let mut watched = cgroup.watch();
    let mut shown = |second: u64, mib, cache| {
        cgroup.charge(mib, cache);
        watched.sweep(second * SECOND_NS);
        let shown: Vec<_> = watched
            .fresh_metrics()
            .unwrap()
            .map(|one| one.to_limit)
            .collect();
        assert_eq!(shown.len(), 1);
        seconds(shown[0])
    };
    assert_eq!(shown(0, 10, 0), None);
    for second in 1..10 {
        // Page cache is no growth.
        assert_eq!(shown(second, 10 + 5 * second, 5 * second), None);
    }
    for second in 10..40 {
        shown(second, 50 + second, 50);
    }
    // 40 of 100 MiB are in use.
    assert_eq!(shown(40, 90, 50), Some(60));
    for second in 41..70 {
        shown(second, 90, 50);
    }
    assert_eq!(shown(70, 90, 50), None);
}

#[test]
fn a_reused_pid_is_not_in_the_cgroup_of_the_process_before() {
    let cgroup = Cgroup::new();
    let mut watched = cgroup.watch();
    cgroup.charge(10, 0);
    assert!(watched.sweep(0).is_empty());
    let pid = cgroup.child.id();
    watched.by_pid.get_mut(&pid).unwrap().identity.start_ticks += 1;
    cgroup.charge(95, 0);
    assert!(watched.sweep(SECOND_NS / 10).is_empty());
    assert!(!watched.by_pid.contains_key(&pid));
    // From the next sweep on it is the new one's own.
    let crossings = watched.sweep(SECOND_NS / 5);
    assert_eq!(crossings.len(), 1);
    assert_eq!(
        crossings[0].identity,
        crossings[0].process.identity().unwrap()
    );
}

#[test]
fn a_limit_that_is_lowered_counts_a_second_later() {
    let cgroup = Cgroup::new();
    let mut watched = cgroup.watch();
    cgroup.charge(50, 0);
    assert!(watched.sweep(0).is_empty());
    cgroup.write("memory.max", &(60 * MIB).to_string());
    assert!(watched.sweep(SECOND_NS / 10).is_empty());
    let crossings = watched.sweep(SECOND_NS);
    assert_eq!(crossings.len(), 1);
    assert_eq!(crossings[0].crossing.sample.limit, Some(60 * MIB));
}

#[test]
fn a_working_set_that_is_needed_is_read_in_every_sweep() {
    let cgroup = Cgroup::new();
    let threshold = "memory_working_set_usage > 50".parse().unwrap();
    let mut watched = cgroup.watch_by(Thresholds {
        warning: Some(threshold),
        critical: None,
        ..Thresholds::default()
    });
    cgroup.charge(70, 30);
    assert!(watched.sweep(0).is_empty());
    cgroup.charge(80, 35);
    assert!(watched.sweep(SECOND_NS / 10).is_empty());
    cgroup.charge(80, 25);
    assert_eq!(watched.sweep(SECOND_NS / 5).len(), 1);
}

#[test]
fn a_cgroup_that_is_made_anew_is_watched_again() {
    let cgroup = Cgroup::new();
    let mut watched = cgroup.watch();
    cgroup.charge(95, 0);
    assert_eq!(watched.sweep(0).len(), 1);
    let dir = cgroup.dir.path();
    fs::remove_dir_all(dir).unwrap();
    assert!(watched.sweep(SECOND_NS / 10).is_empty());
    assert_eq!((watched.by_pid.len(), watched.unlisted), (0, true));
    fs::create_dir(dir).unwrap();
    cgroup.fill();
    cgroup.charge(95, 0);
    // Its first level, and no reminder of the other's.
    let crossings = watched.sweep(SECOND_NS / 5);
    assert_eq!(crossings.len(), 1);
    assert!(!crossings[0].crossing.again);
}

#[test]
fn neither_this_process_nor_the_pods_first_one_is_watched() {
    for (pid, is_named, expected) in [
        (7, false, false),
        (7, true, false),
        (1, false, false),
        (1, true, true),
        (8, false, true),
    ] {
        assert_eq!(is_watched(pid, 7, is_named), expected, "{pid} {is_named}");
    }
}
