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
        cgroup.is_made();
        cgroup
    }

    fn is_made(&self) {
        self.write("cgroup.procs", &self.child.id().to_string());
        self.has(0, 0);
        self.write("memory.max", &(100 * MIB).to_string());
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }

    /// So many MiB are charged to it, some of which are page cache that nobody needs.
    fn has(&self, mib: u64, cache: u64) {
        self.write("memory.current", &(mib * MIB).to_string());
        self.write("memory.stat", &format!("inactive_file {}\n", cache * MIB));
    }

    fn beside(&self) -> Beside {
        self.beside_by(Thresholds::default())
    }

    fn beside_by(&self, settings: Thresholds) -> Beside {
        Beside::new(settings, Some(self.dir.path()), Duration::from_secs(1)).unwrap()
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
fn who_is_told_of_is_told_with_the_time_that_is_left() {
    let cgroup = Cgroup::new();
    let mut beside = cgroup.beside();
    for second in 0..7 {
        cgroup.has(40 + 5 * second, 0);
        let told = beside.look(second * SECOND_NS);
        assert!(told.is_empty(), "at {second} s");
    }
    // Between two samples: the look itself is one.
    cgroup.has(75, 0);
    let told = beside.look(7 * SECOND_NS - SECOND_NS / 10);
    let [told] = told.as_slice() else {
        panic!("{} are told of", told.len());
    };
    assert_eq!(told.crossing.level, Level::Warning);
    assert_eq!(seconds(told.crossing.forecast), Some(5));
}

#[test]
fn metrics_show_the_time_that_is_left_while_it_grows() {
    let cgroup = Cgroup::new();
    let mut beside = cgroup.beside();
    let mut shown = |second: u64, mib, cache| {
        cgroup.has(mib, cache);
        beside.look(second * SECOND_NS);
        let shown: Vec<_> = beside.seen().unwrap().map(|shown| shown.to_limit).collect();
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
fn who_has_the_number_by_now_is_not_told_of_anothers_cgroup() {
    let cgroup = Cgroup::new();
    let mut beside = cgroup.beside();
    cgroup.has(10, 0);
    assert!(beside.look(0).is_empty());
    let pid = cgroup.child.id();
    beside.known.get_mut(&pid).unwrap().identity.start_ticks += 1;
    cgroup.has(95, 0);
    assert!(beside.look(SECOND_NS / 10).is_empty());
    assert!(!beside.known.contains_key(&pid));
    // From the next look on it is the new one's own.
    let told = beside.look(SECOND_NS / 5);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].identity, told[0].held.identity().unwrap());
}

#[test]
fn a_limit_that_is_lowered_counts_a_second_later() {
    let cgroup = Cgroup::new();
    let mut beside = cgroup.beside();
    cgroup.has(50, 0);
    assert!(beside.look(0).is_empty());
    cgroup.write("memory.max", &(60 * MIB).to_string());
    assert!(beside.look(SECOND_NS / 10).is_empty());
    let told = beside.look(SECOND_NS);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].crossing.sample.limit, Some(60 * MIB));
}

#[test]
fn a_working_set_that_is_asked_for_is_read_in_every_pass() {
    let cgroup = Cgroup::new();
    let mark = "memory_working_set_usage > 50".parse().unwrap();
    let mut beside = cgroup.beside_by(Thresholds {
        warning: Some(mark),
        critical: None,
        ..Thresholds::default()
    });
    cgroup.has(70, 30);
    assert!(beside.look(0).is_empty());
    cgroup.has(80, 35);
    assert!(beside.look(SECOND_NS / 10).is_empty());
    cgroup.has(80, 25);
    assert_eq!(beside.look(SECOND_NS / 5).len(), 1);
}

#[test]
fn a_cgroup_that_is_made_anew_is_watched_again() {
    let cgroup = Cgroup::new();
    let mut beside = cgroup.beside();
    cgroup.has(95, 0);
    assert_eq!(beside.look(0).len(), 1);
    let dir = cgroup.dir.path();
    fs::remove_dir_all(dir).unwrap();
    assert!(beside.look(SECOND_NS / 10).is_empty());
    assert_eq!(beside.all().count(), 0);
    fs::create_dir(dir).unwrap();
    cgroup.is_made();
    cgroup.has(95, 0);
    // Its first level, and no reminder of the other's.
    let told = beside.look(SECOND_NS / 5);
    assert_eq!(told.len(), 1);
    assert!(!told[0].crossing.again);
}
