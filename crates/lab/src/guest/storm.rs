//! Many kills at once, while the CPUs have other work.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::pods::Group;
use super::process::{Facts, Pack, Plan, start};
use super::scene::{Scene, Story};

/// How many are killed.
pub(super) const KILLS: usize = 200;

/// How many wait at their gates together: more would not fit in the machine's memory.
const BATCH: usize = 40;

/// Two of a machine with two.
const CPUS: usize = 2;

/// Of the limits; each victim's is a page more than the last one's.
const LIMIT: u64 = 2 << 20;
const PAGE: u64 = 4096;

/// How many differences are told.
const SHOWN: usize = 8;

/// One victim before it is killed.
struct Victim {
    container: Group,
    limit: u64,
    hog: Pack,
    facts: Facts,
}

/// Threads that keep every CPU busy until this is dropped.
struct Busy {
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Each victim in a container and with a command line of its own.
pub(super) fn storm(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(14)?;
    let mut wrong = Vec::new();
    let mut told: usize = 0;
    for batch in 0..KILLS / BATCH {
        let first = batch.saturating_mul(BATCH);
        let mut victims = (first..first.saturating_add(BATCH))
            .map(|n| Victim::start(&pod, n))
            .collect::<Result<Vec<_>>>()?;
        let mut hogs: Vec<&mut Pack> = Vec::new();
        let mut stories = Vec::new();
        for victim in &mut victims {
            stories.push(Story {
                scope: "container",
                limit_bytes: Some(victim.limit),
                limit_cgroup: Some(&victim.container.path),
                outcome: "container-died",
                trigger: Some(victim.facts.pid),
                victims: std::slice::from_ref(&victim.facts),
            });
            hogs.push(&mut victim.hog);
        }
        let _busy = Busy::start();
        let found = scene.play_many(&stories, || {
            hogs.into_iter().try_for_each(|hog| hog.first()?.go())
        });
        wrong.extend(found.with_context(|| format!("after {told} of {KILLS}"))?);
        told = told.saturating_add(stories.len());
    }
    wrong.truncate(SHOWN);
    Ok(json!({
        "expected": {"incidents": KILLS, "differences": []},
        "told": {"incidents": told, "differences": wrong},
    }))
}

impl Victim {
    fn start(pod: &Group, n: usize) -> Result<Self> {
        let number = u32::try_from(n).context("a small number")?;
        let limit = PAGE.saturating_mul(number.into()).saturating_add(LIMIT);
        let container = pod.container(number)?.limit(limit)?;
        let mib = number.saturating_add(100).to_string();
        let mut hog = start(&[Plan {
            group: &container,
            args: &["--mib", &mib, "--gate"],
            uid: number,
            oom_score_adj: 0,
        }])?;
        let facts = hog.first()?.facts()?;
        Ok(Self {
            container,
            limit,
            hog,
            facts,
        })
    }
}

impl Busy {
    fn start() -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let spin = |end: Arc<AtomicBool>| {
            move || {
                while !end.load(Ordering::Relaxed) {
                    spin_loop();
                }
            }
        };
        let threads = (0..CPUS)
            .map(|_| thread::spawn(spin(Arc::clone(&end))))
            .collect();
        Self { end, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It cannot panic.
            let _ended = thread.join();
        }
    }
}
