//! Many kills at once, while the CPUs have other work.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::guest::kill::ExpectedKill;
use crate::guest::pods::{Group, MIB};
use crate::guest::process::{Facts, Plan, Process, start};
use crate::guest::scene::Scene;
use crate::spin::Spinners;

/// How many are killed.
pub(super) const KILLS: usize = 200;

/// How many wait at their gates together: more would not fit in the machine's memory.
const BATCH: usize = 40;

/// Two of a machine with two.
const CPUS: usize = 2;

/// Of the limits; each victim's is a page more than the last one's.
const LIMIT: u64 = 2 * MIB;
const PAGE: u64 = 4096;

/// How many differences are shown.
const SHOWN: usize = 8;

/// One victim before it is killed.
struct Victim {
    container: Group,
    limit: u64,
    hog: Process,
    facts: Facts,
}

/// Each victim in a container and with a command line of its own.
pub(super) fn storm(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(14)?;
    let mut wrong = Vec::new();
    let mut reported: usize = 0;
    for batch in 0..KILLS / BATCH {
        let first = batch.saturating_mul(BATCH);
        let mut victims = (first..first.saturating_add(BATCH))
            .map(|n| Victim::start(&pod, n))
            .collect::<Result<Vec<_>>>()?;
        let mut hogs = Vec::new();
        let mut kills = Vec::new();
        for victim in &mut victims {
            kills.push(ExpectedKill::at_limit(
                ("container", victim.limit, &victim.container.path),
                std::slice::from_ref(&victim.facts),
            ));
            hogs.push(&mut victim.hog);
        }
        let _busy = Spinners::start(CPUS)?;
        let differences = scene.play_many(&kills, || {
            hogs.into_iter().try_for_each(|hog| hog.open_gate())
        });
        wrong.extend(differences.with_context(|| format!("after {reported} of {KILLS}"))?);
        reported = reported.saturating_add(kills.len());
    }
    wrong.truncate(SHOWN);
    Ok(json!({
        "expected": {"incidents": KILLS, "differences": []},
        "reported": {"incidents": reported, "differences": wrong},
    }))
}

impl Victim {
    fn start(pod: &Group, n: usize) -> Result<Self> {
        let number = u32::try_from(n).context("a small number")?;
        let limit = PAGE.saturating_mul(number.into()).saturating_add(LIMIT);
        let container = pod.container(number)?.limit(limit)?;
        let mib = number.saturating_add(100).to_string();
        let hog = start(Plan {
            uid: number,
            ..Plan::new(&container, &["--mib", &mib, "--gate"])
        })?;
        let facts = hog.facts()?;
        Ok(Self {
            container,
            limit,
            hog,
            facts,
        })
    }
}
