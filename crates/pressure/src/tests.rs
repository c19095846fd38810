//! The sampler over a directory that looks like a hierarchy of cgroup v2.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use memcg::Version;
use service::liveness::Liveness;

use super::*;
use crate::counts::Counts;

const SOON: Duration = Duration::from_mins(3);
const FAST: Duration = Duration::from_millis(100);

/// One sweep: paths and what they use, and whether it was a whole one.
type Swept = (Vec<(String, u64)>, bool);

struct Scene {
    root: tempfile::TempDir,
    sweeps: Receiver<Swept>,
    counts: Arc<Counts>,
    liveness: Liveness,
    _sampler: Sampler,
}

/// Holds the sampler in its next sweep.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Option<bool>>, Condvar)>);

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn scope(n: u16) -> String {
    format!("/docker-{n:064x}.scope")
}

/// A cgroup whose limit comes last, as a runtime does it.
fn make(root: &Path, n: u16, current: u64, limit: &str) {
    let (made, dir) = (root.join("made"), root.join(&scope(n)[1..]));
    fs::create_dir(&made).unwrap();
    for (name, text) in [
        ("memory.current", current.to_string()),
        ("memory.stat", "inactive_file 0\n".to_owned()),
        ("memory.events", "max 0\n".to_owned()),
        ("memory.max", "max".to_owned()),
    ] {
        fs::write(made.join(name), text).unwrap();
    }
    fs::create_dir(&dir).unwrap();
    for entry in fs::read_dir(&made).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    fs::remove_dir(made).unwrap();
    fs::write(dir.join("memory.max"), limit).unwrap();
}

impl Gate {
    /// Returns when the sampler is in there.
    fn shut(&self) {
        *self.0.0.lock().unwrap() = Some(false);
        self.wait(|held| *held == Some(false));
    }

    fn open(&self) {
        let (state, changed) = &*self.0;
        *state.lock().unwrap() = None;
        changed.notify_all();
    }

    fn hold(&self) {
        let (state, changed) = &*self.0;
        if let Some(held) = &mut *state.lock().unwrap() {
            *held = true;
            changed.notify_all();
        }
        self.wait(|held| held.is_some());
    }

    fn wait(&self, is: impl Fn(&mut Option<bool>) -> bool) {
        let (state, changed) = &*self.0;
        let held = changed.wait_timeout_while(state.lock().unwrap(), SOON, is);
        assert!(!held.unwrap().1.timed_out());
    }
}

impl Scene {
    fn start(period: Duration) -> Self {
        Self::of(tempfile::tempdir().unwrap(), period, || {})
    }

    /// `during` is called in every sweep.
    fn of(root: tempfile::TempDir, period: Duration, during: impl Fn() + Send + 'static) -> Self {
        let (sender, sweeps) = channel();
        let source = Source {
            root: root.path().to_owned(),
            version: Version::V2,
            node: memcg::NodeRoot::default(),
        };
        let (counts, liveness) = (Arc::<Counts>::default(), Liveness::default());
        let take = move |sweep: &Sweep<'_>| {
            let row = |(key, sample): &(CgroupKey, Sample)| (key.path().to_owned(), sample.current);
            let rows = sweep.samples.iter().map(row).collect();
            // Nobody listens when the test is over.
            let _over = sender.send((rows, sweep.whole));
            during();
        };
        let (count, live) = (counts.clone(), liveness.clone());
        let take = Box::new(take);
        let notice = Box::new(|_: &str, _| {});
        let sampler = Sampler::start(source, Some(period), count, live, take, notice).unwrap();
        Self {
            root,
            sweeps,
            counts,
            liveness,
            _sampler: sampler,
        }
    }

    fn make(&self, n: u16, current: u64, limit: &str) {
        make(self.root.path(), n, current, limit);
    }

    fn write(&self, n: u16, name: &str, text: &str) {
        fs::write(self.dir(n).join(name), text).unwrap();
    }

    fn dir(&self, n: u16) -> PathBuf {
        self.root.path().join(scope(n).trim_start_matches('/'))
    }

    /// The first sweep that is as wanted.
    fn until(&self, wanted: impl Fn(&Swept) -> bool) -> Swept {
        let until = Instant::now() + SOON;
        loop {
            let swept = self.sweeps.recv_timeout(SOON).unwrap();
            if wanted(&swept) {
                return swept;
            }
            assert!(Instant::now() < until, "{} rows at last", swept.0.len());
        }
    }
}

#[test]
fn a_container_is_sampled_from_its_limit_to_its_end() {
    let scene = Scene::start(FAST);
    scene.make(1, 500, "1000");
    scene.until(|swept| *swept == (vec![(scope(1), 500)], true));
    scene.write(1, "memory.current", "600");
    scene.until(|swept| *swept == (vec![(scope(1), 600)], true));
    assert_eq!(get(&scene.counts.watched), 1);
    fs::remove_dir_all(scene.dir(1)).unwrap();
    // Consumers learn that it is gone.
    scene.until(|swept| *swept == (vec![], true));
    assert_eq!(get(&scene.counts.watched), 0);
}

#[test]
fn without_a_limit_nothing_runs() {
    let scene = Scene::start(FAST);
    scene.make(1, 500, "max");
    scene.make(2, 700, "1000");
    scene.until(|swept| *swept == (vec![(scope(2), 700)], true));
    scene.write(2, "memory.max", "max");
    scene.until(|swept| *swept == (vec![], true));
    let sweeps = get(&scene.counts.sweeps);
    let more = scene.sweeps.recv_timeout(FAST * 5);
    assert_eq!(more, Err(RecvTimeoutError::Timeout));
    assert_eq!(get(&scene.counts.sweeps), sweeps);
}

#[test]
fn a_container_with_memory_events_is_sampled_between_sweeps() {
    let scene = Scene::start(Duration::from_mins(1));
    scene.make(1, 500, "1000");
    scene.until(|swept| *swept == (vec![(scope(1), 500)], true));
    scene.write(1, "memory.current", "990");
    scene.write(1, "memory.events", "max 1\n");
    scene.until(|swept| *swept == (vec![(scope(1), 990)], false));
    assert!(get(&scene.counts.between) > 0);
}

#[test]
fn one_that_is_new_is_looked_at_before_the_next_pass() {
    let scene = Scene::start(Duration::from_mins(1));
    scene.make(1, 500, "1000");
    scene.until(|swept| *swept == (vec![(scope(1), 500)], true));
    scene.make(2, 700, "1000");
    scene.until(|swept| *swept == (vec![(scope(2), 700)], false));
}

#[test]
fn who_grows_fast_is_looked_at_between_sweeps() {
    let scene = Scene::start(Duration::from_mins(1));
    scene.make(1, 0, "1000000");
    scene.until(|swept| swept.1);
    // From the second sample on its growth is known.
    scene.write(1, "memory.current", "500000");
    scene.write(1, "memory.events", "max 1\n");
    scene.until(|(rows, _)| *rows == [(scope(1), 500_000)]);
    scene.write(1, "memory.current", "900000");
    scene.until(|swept| *swept == (vec![(scope(1), 900_000)], false));
}

/// Consumers run on the sampler's thread: that is a cost, too.
#[test]
fn time_of_consumers_counts_as_busy() {
    const WORK: Duration = Duration::from_millis(20);
    let work = || {
        let begun = Instant::now();
        while begun.elapsed() < WORK {
            std::hint::spin_loop();
        }
    };
    let scene = Scene::of(tempfile::tempdir().unwrap(), Duration::from_mins(1), work);
    scene.make(1, 500, "1000");
    scene.until(|swept| *swept == (vec![(scope(1), 500)], true));
    scene.write(1, "memory.events", "max 1\n");
    scene.until(|swept| *swept == (vec![(scope(1), 500)], false));
    let counts = scene.counts.clone();
    drop(scene);
    assert!(u128::from(get(&counts.busy_ns)) >= 2 * WORK.as_nanos());
}

#[test]
fn the_end_of_the_thread_is_known() {
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let scene = Scene::of(tempfile::tempdir().unwrap(), FAST, move || {
        assert!(!failing.load(Ordering::Relaxed), "as a bug would");
    });
    scene.make(1, 500, "1000");
    scene.until(|swept| swept.1);
    assert_eq!(get(&scene.counts.running), 1);
    assert!(scene.liveness.is_live());
    fails.store(true, Ordering::Relaxed);
    // What the thread had goes after its word that it ends.
    while scene.sweeps.recv_timeout(SOON) != Err(RecvTimeoutError::Disconnected) {}
    assert!(!scene.liveness.is_live());
    assert_eq!(get(&scene.counts.running), 0);
}

/// The kernel has room for so many events, then reports an overflow.
#[test]
fn after_an_overflow_another_walk_finds_all() {
    let gate = Gate::default();
    let held = gate.clone();
    let scene = Scene::of(tempfile::tempdir().unwrap(), FAST, move || held.hold());
    scene.make(1, 500, "1000");
    scene.make(2, 500, "1000");
    scene.until(|(rows, _)| rows.len() == 2);
    gate.shut();
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queue: usize = queue.trim().parse().unwrap();
    // Like ones that follow each other are one.
    let open = |name| File::create(scene.dir(2).join(name)).unwrap();
    let files = [open("memory.max"), open("memory.events")];
    for n in 0..=queue {
        files[n % 2].write_all_at(b"1000", 0).unwrap();
    }
    fs::remove_dir_all(scene.dir(1)).unwrap();
    scene.make(1, 600, "1000");
    scene.make(3, 700, "1000");
    gate.open();
    let there = [(scope(1), 600), (scope(2), 500), (scope(3), 700)];
    let are = |swept: &Swept, all: &[(String, u64)]| {
        swept.1 && swept.0.len() == all.len() && all.iter().all(|one| swept.0.contains(one))
    };
    scene.until(|swept| are(swept, &there));
    assert_eq!(get(&scene.counts.rescans), 1);
    // And from then on there are events again.
    fs::remove_dir_all(scene.dir(3)).unwrap();
    scene.until(|swept| are(swept, &there[..2]));
    assert_eq!(get(&scene.counts.rescans), 1);
}

#[test]
fn a_container_without_room_is_counted_and_gets_the_place_of_one_that_goes() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..1001 {
        make(root.path(), n, 500, "1000");
    }
    let gate = Gate::default();
    let held = gate.clone();
    let scene = Scene::of(root, FAST, move || held.hold());
    let (first, _) = scene.until(|(rows, whole)| *whole && rows.len() == 1000);
    assert_eq!(get(&scene.counts.watched), 1000);
    assert_eq!(get(&scene.counts.no_room), 1);
    let is_in = |n: &u16| first.iter().any(|(path, _)| *path == scope(*n));
    let outside = (0..1001).find(|n| !is_in(n)).unwrap();
    scene.make(2000, 600, "1000");
    scene.until(|_| get(&scene.counts.no_room) == 2);
    // The next one's turn comes, but it has no limit any more: it is the other's.
    gate.shut();
    fs::remove_dir_all(scene.dir(u16::from(outside == 0))).unwrap();
    scene.write(2000, "memory.max", "max");
    gate.open();
    let has = |rows: &[(String, u64)], n| rows.iter().any(|(path, _)| *path == scope(n));
    scene.until(|(rows, whole)| *whole && rows.len() == 1000 && has(rows, outside));
    assert_eq!(get(&scene.counts.watched), 1000);
    assert_eq!(get(&scene.counts.no_room), 0);
}
