//! The incident that the agent should report of a kill.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::history::expected_before;
use super::kill::{ExpectedKill, NODE, SLACK};
use super::kmsg::KernelReport;
use super::memory::expected_memory;
use super::process::Resident;
use crate::Output;
use crate::expect::{between, id_between, one_of, time_between};
use crate::wait::HANG;

/// An incident lists so many victims.
pub(super) const LISTED: usize = 256;

const NO_RUNTIME: &str = "no container runtime was found";

/// The fields that follow from a kill's cgroups, read while these exist.
#[derive(Debug)]
pub(super) struct CgroupFields {
    memory: Vec<Value>,
    before: Value,
    degraded: Vec<String>,
}

/// Now, in ns of both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    monotonic: u64,
    wall: u64,
}

/// The incident of a kill between two moments on the boot with that id.
pub(super) fn expected_incident(
    boot: &str,
    kill: &ExpectedKill<'_>,
    report: &KernelReport,
    (from, to): (Moment, Moment),
    cgroups: CgroupFields,
) -> Result<Value> {
    let mut victims = Vec::new();
    // The runtime's entries are the last.
    let mut degraded = cgroups.degraded;
    let mut first = None;
    for (n, killed) in report.killed.iter().enumerate() {
        let facts = kill
            .victims
            .iter()
            .find(|facts| facts.tids.contains(&killed.tid))
            .with_context(|| format!("the kernel killed another one: {report:?}"))?;
        first = first.or(Some(facts.pid));
        let mut victim = facts.victim.clone();
        if let Some(rss) = victim.get_mut("rss_bytes") {
            *rss = expected_resident(killed.resident);
        }
        victims.push(victim);
        if facts.in_container {
            degraded.extend(unnamed("victims", n));
        }
    }
    let count = victims.len();
    victims.truncate(LISTED);
    Ok(json!({
        "version": 1,
        "id": id_between(boot, from.monotonic, to.monotonic, first.unwrap_or_default()),
        "time": time_between(from.wall, to.wall),
        "node": NODE,
        "scope": kill.scope,
        "limit_bytes": kill.limit_bytes,
        "limit_cgroup": kill.limit_cgroup,
        "limit_kind": kill.limit_cgroup.map(|_| "memory"),
        "limit_lowered": false,
        "setting": null,
        "holders": [],
        "oom": {
            "gfp_mask": report.gfp_mask.map_or_else(any, Value::from),
            "order": report.order,
            "constraint": if kill.limit_cgroup.is_some() { "memcg" } else { "none" },
        },
        "outcome": kill.outcome,
        "trigger": {
            "pid": kill.trigger.map_or_else(any, Value::from),
            // The agent's threads have names of their own.
            "comm": if kill.trigger.is_some() {
                json!(report.comm)
            } else {
                one_of(&[json!(report.comm), json!("oom-agent")])
            },
        },
        "victim_count": count,
        "victims": victims,
        "memory": cgroups.memory,
        "before": cgroups.before,
        "degraded": degraded,
    }))
}

/// Takes over the holders of what many share: the cases that are about them check more. No runtime
/// names any.
pub(super) fn expect_holders(expected: &mut Value, reported: &Value) {
    let scope = reported.get("scope").and_then(Value::as_str);
    let setting = reported.get("setting");
    let is_shared = matches!(scope, Some("pod" | "ancestor" | "node"))
        || setting.is_some_and(|setting| !setting.is_null());
    let holders = reported.get("holders").and_then(Value::as_array);
    let (true, Some(holders)) = (is_shared, holders) else {
        return;
    };
    let is_container = |(_, holder): &(usize, &Value)| {
        let container = holder.get("container");
        container.is_some_and(|container| !container.is_null())
    };
    let containers = holders.iter().enumerate().filter(is_container);
    if let Some(degraded) = expected.get_mut("degraded").and_then(Value::as_array_mut) {
        let entries = containers.flat_map(|(n, _)| unnamed("holders", n));
        degraded.extend(entries.map(Value::from));
    }
    if let Some(value) = expected.get_mut("holders") {
        *value = json!(holders);
    }
}

/// The entries of `degraded` for a container without a runtime that names it.
fn unnamed(list: &str, n: usize) -> [String; 2] {
    ["container.name", "pod"].map(|field| format!("{list}[{n}].{field}: {NO_RUNTIME}"))
}

/// The reported incident of a kill's victims.
pub(super) fn find_incident(incidents: &mut Output, kill: &ExpectedKill<'_>) -> Result<Value> {
    let pids: Vec<u32> = kill.victims.iter().map(|victim| victim.pid).collect();
    let what = format!("incident of one of {pids:?}");
    incidents.find(&what, HANG, |line| {
        // An id ends with a victim's: much is spared by not parsing the others.
        let id = |pid| line.contains(&format!("-{pid}\""));
        if !pids.iter().any(id) {
            return None;
        }
        let incident: Value = serde_json::from_str(line).ok()?;
        let victims = incident.get("victims")?.as_array()?;
        victims
            .iter()
            .filter_map(|victim| victim.get("pid")?.as_u64())
            .any(|pid| pids.iter().any(|ours| u64::from(*ours) == pid))
            .then_some(incident)
    })
}

/// The beginning of every incident's id.
pub(super) fn boot_id() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read boot_id")?;
    Ok(id.chars().take(8).collect())
}

fn any() -> Value {
    between(0, u64::MAX)
}

// === impl CgroupFields ===

impl CgroupFields {
    pub(super) fn read(kill: &ExpectedKill<'_>) -> Result<Self> {
        let (memory, degraded) = expected_memory(kill)?;
        Ok(Self {
            memory,
            before: expected_before(kill)?,
            degraded,
        })
    }
}

/// Within what the kernel's report of it may differ.
fn expected_resident(resident: Option<Resident>) -> Value {
    let about = |bytes: fn(&Resident) -> u64| {
        let bytes = resident.as_ref().map(bytes);
        bytes.map_or_else(any, |bytes| {
            between(bytes.saturating_sub(SLACK), bytes.saturating_add(SLACK))
        })
    };
    json!({
        "anon": about(|resident| resident.anon),
        "file": about(|resident| resident.file),
        "shmem": about(|resident| resident.shmem),
    })
}

// === impl Moment ===

impl Moment {
    pub(super) fn now() -> Result<Self> {
        let monotonic = Duration::try_from(clock_gettime(ClockId::Monotonic));
        let wall = UNIX_EPOCH.elapsed().context("a time after 1970")?;
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).context("a time that fits");
        Ok(Self {
            monotonic: nanos(monotonic.context("a time after the boot")?)?,
            wall: nanos(wall)?,
        })
    }
}
