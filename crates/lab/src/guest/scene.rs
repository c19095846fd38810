//! The agent at work, and what it should tell of a kill.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::before;
use super::kmsg::{Kmsg, Report};
use super::memory;
use super::process::{Facts, Resident, SOON};
use crate::expect::{between, differences, id_between, one_of, time_between};
use crate::{Agent, Output, wait};

/// The kernel reports twice as many kills whole in as long: `oom_rs` of its `oom_kill_process`. The
/// other half is for cases of several kills.
const REPORTS: usize = 5;
const REPORTS_IN: Duration = Duration::from_secs(5);

/// The kernel counts resident memory in batches, and prints it a moment after the mark.
pub(super) const SLACK: u64 = 1 << 20;

pub(super) const NODE: &str = "guest";
const NO_RUNTIME: &str = "no container runtime was found";

/// A running agent, and the kernel's log.
#[derive(Debug)]
pub(super) struct Scene {
    agent: Agent,
    kmsg: Kmsg,
    boot: String,
    told: Vec<Value>,
    /// When each kill was played.
    played: Vec<Instant>,
}

/// What is going to happen, as far as the one who has it happen knows.
#[derive(Debug)]
pub(super) struct Story<'a> {
    pub(super) scope: &'static str,
    pub(super) limit_bytes: Option<u64>,
    pub(super) limit_cgroup: Option<&'a str>,
    pub(super) outcome: &'static str,
    /// `None`: whoever it is, it cannot be known.
    pub(super) trigger: Option<u32>,
    pub(super) victims: &'a [Facts],
}

/// What the cgroups of a kill are, which can be read as long as they are there.
#[derive(Debug)]
pub(super) struct Surroundings {
    memory: Vec<Value>,
    before: Value,
    degraded: Vec<String>,
}

/// What was seen of one invocation of the OOM killer but by the agent.
#[derive(Debug)]
pub(super) struct Seen {
    /// Name of the thread whose allocation it was.
    comm: String,
    gfp_mask: Value,
    order: i32,
    /// A thread of each victim, and its resident memory.
    killed: Vec<(u32, Value)>,
}

/// Now, in ns of both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    monotonic: u64,
    wall: u64,
}

impl Scene {
    pub(super) fn open() -> Result<Self> {
        let args = ["--no-kubernetes", "--node-name", NODE];
        let agent = Agent::start("/bin/oom-agent".as_ref(), &args, &[])?;
        // Of a node's processes it is the largest when nothing else runs.
        let adj = format!("/proc/{}/oom_score_adj", agent.pid());
        fs::write(&adj, "-997").with_context(|| format!("write to {adj}"))?;
        Ok(Self {
            agent,
            kmsg: Kmsg::open()?,
            boot: boot()?,
            told: Vec::new(),
            played: Vec::new(),
        })
    }

    /// An agent beside the first one.
    pub(super) fn another(more: &[&str]) -> Result<Agent> {
        let mut args = vec!["--no-kubernetes", "--node-name", NODE];
        args.extend(more);
        Agent::start("/bin/oom-agent".as_ref(), &args, &[])
    }

    /// Has it happen by `go`: what the agent should tell of it, and what it tells.
    pub(super) fn play(
        &mut self,
        story: &Story<'_>,
        go: impl FnOnce() -> Result<()>,
    ) -> Result<Value> {
        self.await_report()?;
        self.kmsg.skip()?;
        let from = Moment::now()?;
        go()?;
        let told = self.told_of(story)?;
        let span = (from, Moment::now()?);
        let report = self.kmsg.report(story.victims.len())?;
        let mut expected = self.expected(story, &Seen::from(&report), span)?;
        expect_holders(&mut expected, &told);
        Ok(json!({"expected": expected, "told": told}))
    }

    /// The same of what the kernel reports nothing of. Its victims hold still until then.
    pub(super) fn play_unreported(
        &mut self,
        story: &Story<'_>,
        go: impl FnOnce() -> Result<()>,
    ) -> Result<Value> {
        let from = Moment::now()?;
        go()?;
        let told = self.told_of(story)?;
        let span = (from, Moment::now()?);
        let mut expected = self.expected(story, &Seen::unreported(story, resident), span)?;
        expect_holders(&mut expected, &told);
        Ok(json!({"expected": expected, "told": told}))
    }

    /// Has many kills happen at once: where what is told of them is not what should be.
    pub(super) fn play_many(
        &mut self,
        stories: &[Story<'_>],
        go: impl FnOnce() -> Result<()>,
    ) -> Result<Vec<String>> {
        let from = Moment::now()?;
        go()?;
        let mut wrong = Vec::new();
        for story in stories {
            let told = self.told_of(story)?;
            let span = (from, Moment::now()?);
            // Of so many the kernel reports the first ones only.
            let seen = Seen::unreported(
                story,
                |_| json!({"anon": any(), "file": any(), "shmem": any()}),
            );
            wrong.extend(differences(&self.expected(story, &seen, span)?, &told));
        }
        Ok(wrong)
    }

    /// The incident of a story's victims.
    pub(super) fn told_of(&mut self, story: &Story<'_>) -> Result<Value> {
        let told = incident_of(&mut self.agent.incidents, story)?;
        self.told.push(told.get("id").cloned().unwrap_or_default());
        Ok(told)
    }

    /// The line of an OOM without a victim at that cgroup's limit. A second one would be stray.
    pub(super) fn without_victim(&mut self, cgroup: &str) -> Result<Value> {
        let told = self
            .agent
            .incidents
            .find("an OOM without a victim", SOON, |line| {
                let incident: Value = serde_json::from_str(line).ok()?;
                let is_ours = incident.get("limit_cgroup")? == cgroup;
                let is_empty = incident.get("victims")?.as_array()?.is_empty();
                (is_ours && is_empty).then_some(incident)
            })?;
        self.told.push(told.get("id").cloned().unwrap_or_default());
        Ok(told)
    }

    /// Until the kernel is ready to report another kill.
    fn await_report(&mut self) -> Result<()> {
        let earlier = self
            .played
            .iter()
            .rev()
            .nth(REPORTS.saturating_sub(2))
            .copied();
        if let Some(earlier) = earlier {
            wait::until("the kernel's readiness to report", SOON, || {
                (earlier.elapsed() > REPORTS_IN).then_some(())
            })?;
        }
        self.played.push(Instant::now());
        Ok(())
    }

    fn expected(&self, story: &Story<'_>, seen: &Seen, span: (Moment, Moment)) -> Result<Value> {
        expected(&self.boot, story, seen, span, Surroundings::read(story)?)
    }

    /// Ends the agent: incidents that no case accounts for, and its whole log.
    pub(super) fn close(mut self) -> Value {
        self.agent.end();
        // Their streams end with it.
        let never = |_: &str| None::<()>;
        let _ended = self.agent.incidents.find("its end", SOON, never);
        let _ended = self.agent.log.find("its end", SOON, never);
        let stray: Vec<Value> = self
            .agent
            .incidents
            .so_far()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| line.into()))
            .filter(|incident: &Value| {
                let id = incident.get("id").cloned().unwrap_or_default();
                !self.told.contains(&id)
            })
            .collect();
        let log: Vec<Value> = self
            .agent
            .log
            .so_far()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| line.into()))
            .collect();
        json!({"stray": stray, "log": log})
    }
}

/// The beginning of every incident's id.
pub(super) fn boot() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read boot_id")?;
    Ok(id.chars().take(8).collect())
}

/// The incident of a story's victims.
pub(super) fn incident_of(incidents: &mut Output, story: &Story<'_>) -> Result<Value> {
    let pids: Vec<u32> = story.victims.iter().map(|victim| victim.pid).collect();
    let what = format!("incident of one of {pids:?}");
    incidents.find(&what, SOON, |line| {
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

/// The incident that the agent should tell.
pub(super) fn expected(
    boot: &str,
    story: &Story<'_>,
    seen: &Seen,
    (from, to): (Moment, Moment),
    surroundings: Surroundings,
) -> Result<Value> {
    let mut victims = Vec::new();
    // The runtime is asked last.
    let mut degraded = surroundings.degraded;
    let mut first = None;
    for (n, (tid, resident)) in seen.killed.iter().enumerate() {
        let facts = story
            .victims
            .iter()
            .find(|facts| facts.tids.contains(tid))
            .with_context(|| format!("the kernel killed another one: {seen:?}"))?;
        first = first.or(Some(facts.pid));
        let mut victim = facts.told.clone();
        if let Some(rss) = victim.get_mut("rss_bytes") {
            rss.clone_from(resident);
        }
        victims.push(victim);
        if facts.in_container {
            for field in ["container.name", "pod"] {
                degraded.push(format!("victims[{n}].{field}: {NO_RUNTIME}"));
            }
        }
    }
    Ok(json!({
        "version": 1,
        "id": id_between(boot, from.monotonic, to.monotonic, first.unwrap_or_default()),
        "time": time_between(from.wall, to.wall),
        "node": NODE,
        "scope": story.scope,
        "limit_bytes": story.limit_bytes,
        "limit_cgroup": story.limit_cgroup,
        "limit_kind": story.limit_cgroup.map(|_| "memory"),
        "limit_lowered": false,
        "setting": null,
        "holders": [],
        "oom": {
            "gfp_mask": seen.gfp_mask,
            "order": seen.order,
            "constraint": if story.limit_cgroup.is_some() { "memcg" } else { "none" },
        },
        "outcome": story.outcome,
        "trigger": {
            "pid": story.trigger.map_or_else(any, Value::from),
            // The agent's threads have names of their own.
            "comm": if story.trigger.is_some() {
                json!(seen.comm)
            } else {
                one_of(&[json!(seen.comm), json!("oom-agent")])
            },
        },
        "victim_count": victims.len(),
        "victims": victims,
        "memory": surroundings.memory,
        "before": surroundings.before,
        "degraded": degraded,
    }))
}

/// Takes over who holds what many share: the cases that are about it say more. No runtime names any.
fn expect_holders(expected: &mut Value, told: &Value) {
    let shared = matches!(
        told.get("scope").and_then(Value::as_str),
        Some("pod" | "ancestor" | "node")
    ) || told
        .get("setting")
        .is_some_and(|setting| !setting.is_null());
    let holders = told.get("holders").and_then(Value::as_array);
    let (true, Some(holders)) = (shared, holders) else {
        return;
    };
    let named = |(_, holder): &(usize, &Value)| {
        let container = holder.get("container");
        container.is_some_and(|container| !container.is_null())
    };
    let unnamed = holders.iter().enumerate().filter(named).flat_map(|(n, _)| {
        ["container.name", "pod"].map(|field| json!(format!("holders[{n}].{field}: {NO_RUNTIME}")))
    });
    if let Some(degraded) = expected.get_mut("degraded").and_then(Value::as_array_mut) {
        degraded.extend(unnamed);
    }
    if let Some(value) = expected.get_mut("holders") {
        *value = json!(holders);
    }
}

/// Within what the kernel's report of it may differ.
pub(super) fn resident(resident: Resident) -> Value {
    let about = |bytes: u64| between(bytes.saturating_sub(SLACK), bytes.saturating_add(SLACK));
    json!({
        "anon": about(resident.anon),
        "file": about(resident.file),
        "shmem": about(resident.shmem),
    })
}

pub(super) fn any() -> Value {
    between(0, u64::MAX)
}

impl Surroundings {
    pub(super) fn read(story: &Story<'_>) -> Result<Self> {
        let (memory, degraded) = memory::expected(story)?;
        Ok(Self {
            memory,
            before: before::expected(story)?,
            degraded,
        })
    }
}

impl Seen {
    /// What is sure without a report.
    pub(super) fn unreported(story: &Story<'_>, resident: impl Fn(Resident) -> Value) -> Self {
        let killed = story.victims.iter().filter_map(|facts| {
            let tid = facts.tids.first()?;
            Some((*tid, resident(facts.resident)))
        });
        Self {
            comm: "hog".to_owned(),
            gfp_mask: any(),
            order: 0,
            killed: killed.collect(),
        }
    }
}

impl From<&Report> for Seen {
    fn from(report: &Report) -> Self {
        let killed = report.killed.iter();
        Self {
            comm: report.comm.clone(),
            gfp_mask: report.gfp_mask.into(),
            order: report.order,
            killed: killed
                .map(|killed| (killed.tid, resident(killed.resident)))
                .collect(),
        }
    }
}

impl Moment {
    pub(super) fn now() -> Result<Self> {
        let now = clock_gettime(ClockId::Monotonic);
        let part = |part: i64| u64::try_from(part).unwrap_or(0);
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("a time after 1970")?;
        Ok(Self {
            monotonic: part(now.tv_sec)
                .saturating_mul(1_000_000_000)
                .saturating_add(part(now.tv_nsec)),
            wall: u64::try_from(wall.as_nanos()).context("a time that fits")?,
        })
    }
}
