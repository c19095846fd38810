//! The sampler over a directory that looks like a hierarchy of cgroup v2.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::*;
use crate::metrics::SamplerCounts;
use crate::snapshot::Version;

const SOON: Duration = Duration::from_secs(20);
const FAST: Duration = Duration::from_millis(100);

/// What came in one pass: paths and what they use, and whether it was a whole one.
type Seen = (Vec<(String, u64)>, bool);

struct Scene {
    root: tempfile::TempDir,
    passes: Receiver<Seen>,
    counts: SamplerCounts,
    _sampler: Sampler,
}

fn scope(n: u8) -> String {
    format!("/docker-{n:064x}.scope")
}

impl Scene {
    fn start(period: Duration) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (sender, passes) = channel();
        let source = Source::Containers {
            root: root.path().to_owned(),
            version: Version::V2,
        };
        let counts = SamplerCounts::default();
        let take = move |pass: &Pass<'_>| {
            let row = |(key, usage): &(Key, Usage)| (key.path().to_owned(), usage.current);
            let rows = pass.usages.iter().map(row).collect();
            // Nobody listens when the test is over.
            let _over = sender.send((rows, pass.whole));
        };
        let sampler = Sampler::start(source, period, counts.clone(), Box::new(take)).unwrap();
        Self {
            root,
            passes,
            counts,
            _sampler: sampler,
        }
    }

    /// Its limit comes last, as a runtime does it.
    fn make(&self, n: u8, current: u64, limit: &str) {
        let made = self.root.path().join("made");
        fs::create_dir(&made).unwrap();
        for (name, text) in [
            ("memory.current", current.to_string()),
            ("memory.stat", "inactive_file 0\n".to_owned()),
            ("memory.events", "max 0\n".to_owned()),
            ("memory.max", "max".to_owned()),
        ] {
            fs::write(made.join(name), text).unwrap();
        }
        fs::create_dir(self.dir(n)).unwrap();
        for entry in fs::read_dir(&made).unwrap() {
            let entry = entry.unwrap();
            fs::rename(entry.path(), self.dir(n).join(entry.file_name())).unwrap();
        }
        fs::remove_dir(made).unwrap();
        self.write(n, "memory.max", limit);
    }

    fn write(&self, n: u8, name: &str, text: &str) {
        fs::write(self.dir(n).join(name), text).unwrap();
    }

    fn dir(&self, n: u8) -> PathBuf {
        self.root.path().join(scope(n).trim_start_matches('/'))
    }

    /// The first pass that is as wanted.
    fn until(&self, wanted: impl Fn(&Seen) -> bool) -> Seen {
        loop {
            let seen = self.passes.recv_timeout(SOON).unwrap();
            if wanted(&seen) {
                return seen;
            }
        }
    }
}

#[test]
fn a_container_is_sampled_from_its_limit_to_its_end() {
    let scene = Scene::start(FAST);
    scene.make(1, 500, "1000");
    scene.until(|seen| *seen == (vec![(scope(1), 500)], true));
    scene.write(1, "memory.current", "600");
    scene.until(|seen| *seen == (vec![(scope(1), 600)], true));
    assert_eq!(scene.counts.watched.get(), 1);
    fs::remove_dir_all(scene.dir(1)).unwrap();
    // Whoever keeps something of it learns that it is gone.
    scene.until(|seen| *seen == (vec![], true));
    assert_eq!(scene.counts.watched.get(), 0);
}

#[test]
fn without_a_limit_nothing_runs() {
    let scene = Scene::start(FAST);
    scene.make(1, 500, "max");
    scene.make(2, 700, "1000");
    scene.until(|seen| *seen == (vec![(scope(2), 700)], true));
    scene.write(2, "memory.max", "max");
    scene.until(|seen| *seen == (vec![], true));
    let passes = scene.counts.passes.get();
    let more = scene.passes.recv_timeout(FAST * 5);
    assert_eq!(more, Err(RecvTimeoutError::Timeout));
    assert_eq!(scene.counts.passes.get(), passes);
}

#[test]
fn whom_the_kernel_tells_of_is_looked_at_between_passes() {
    let scene = Scene::start(Duration::from_mins(1));
    scene.make(1, 500, "1000");
    scene.until(|seen| *seen == (vec![(scope(1), 500)], true));
    scene.write(1, "memory.current", "990");
    scene.write(1, "memory.events", "max 1\n");
    scene.until(|seen| *seen == (vec![(scope(1), 990)], false));
    assert!(scene.counts.between.get() > 0);
}

#[test]
fn one_that_is_new_is_looked_at_before_the_next_pass() {
    let scene = Scene::start(Duration::from_mins(1));
    scene.make(1, 500, "1000");
    scene.until(|seen| *seen == (vec![(scope(1), 500)], true));
    scene.make(2, 700, "1000");
    scene.until(|seen| *seen == (vec![(scope(2), 700)], false));
}

#[test]
fn who_grows_fast_is_looked_at_between_passes() {
    let scene = Scene::start(Duration::from_mins(1));
    scene.make(1, 0, "1000000");
    scene.until(|seen| seen.1);
    // It was looked at once; from the second look on its growth is known.
    scene.write(1, "memory.current", "500000");
    scene.write(1, "memory.events", "max 1\n");
    scene.until(|(rows, _)| *rows == [(scope(1), 500_000)]);
    scene.write(1, "memory.current", "900000");
    scene.until(|seen| *seen == (vec![(scope(1), 900_000)], false));
}
