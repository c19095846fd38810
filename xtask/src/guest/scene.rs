//! The agent at work, and what it should tell of a kill.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::kmsg::{Killed, Kmsg};
use super::process::{Facts, SOON};
use crate::expect::{between, id_between, time_between};
use crate::lab::{Agent, wait};

/// The kernel reports as many kills whole in as long: `oom_rs` of its `oom_kill_process`.
const REPORTS: usize = 10;
const REPORTS_IN: Duration = Duration::from_secs(5);

/// The kernel counts resident memory in batches, and prints it a moment after the mark.
const SLACK: u64 = 1 << 20;

const NODE: &str = "guest";
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

impl Scene {
    pub(super) fn open() -> Result<Self> {
        let args = ["--no-kubernetes", "--node-name", NODE];
        let agent = Agent::start("/bin/oom-agent".as_ref(), &args, &[])?;
        // Of a node's processes it is the largest when nothing else runs.
        let adj = format!("/proc/{}/oom_score_adj", agent.pid());
        fs::write(&adj, "-997").with_context(|| format!("write to {adj}"))?;
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read boot_id")?;
        Ok(Self {
            agent,
            kmsg: Kmsg::open()?,
            boot: id.chars().take(8).collect(),
            told: Vec::new(),
            played: Vec::new(),
        })
    }

    /// Has it happen by `go`: what the agent should tell of it, and what it tells.
    pub(super) fn play(
        &mut self,
        story: &Story<'_>,
        go: impl FnOnce() -> Result<()>,
    ) -> Result<Value> {
        self.await_report()?;
        self.kmsg.skip()?;
        let before = (monotonic(), wall()?);
        go()?;
        let pids: Vec<u32> = story.victims.iter().map(|victim| victim.pid).collect();
        let told =
            self.agent
                .incidents
                .find(&format!("incident of one of {pids:?}"), SOON, |line| {
                    let incident: Value = serde_json::from_str(line).ok()?;
                    let victims = incident.get("victims")?.as_array()?;
                    victims
                        .iter()
                        .filter_map(|victim| victim.get("pid")?.as_u64())
                        .any(|pid| pids.iter().any(|ours| u64::from(*ours) == pid))
                        .then_some(incident)
                })?;
        self.told.push(told.get("id").cloned().unwrap_or_default());
        let after = (monotonic(), wall()?);
        let expected = self.expected(story, before, after)?;
        Ok(json!({"expected": expected, "told": told}))
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

    fn expected(
        &mut self,
        story: &Story<'_>,
        before: (u64, u64),
        after: (u64, u64),
    ) -> Result<Value> {
        let report = self.kmsg.report(story.victims.len())?;
        let mut victims = Vec::new();
        let mut degraded = Vec::new();
        let mut first = None;
        for (n, killed) in report.killed.iter().enumerate() {
            let facts = story
                .victims
                .iter()
                .find(|facts| facts.tids.contains(&killed.tid))
                .with_context(|| format!("the kernel killed another one: {report:?}"))?;
            first = first.or(Some(facts.pid));
            let mut victim = facts.told.clone();
            if let Some(rss) = victim.get_mut("rss_bytes") {
                *rss = resident(killed);
            }
            victims.push(victim);
            if facts.in_container {
                for field in ["container.name", "pod"] {
                    degraded.push(format!("victims[{n}].{field}: {NO_RUNTIME}"));
                }
            }
        }
        let any = between(0, u64::MAX);
        Ok(json!({
            "version": 1,
            "id": id_between(&self.boot, before.0, after.0, first.unwrap_or_default()),
            "time": time_between(before.1, after.1),
            "node": NODE,
            "scope": story.scope,
            "limit_bytes": story.limit_bytes,
            "limit_cgroup": story.limit_cgroup,
            "oom": {
                "gfp_mask": report.gfp_mask,
                "order": report.order,
                "constraint": if story.limit_cgroup.is_some() { "memcg" } else { "none" },
            },
            "outcome": story.outcome,
            "trigger": {
                "pid": story.trigger.map_or(any, Value::from),
                "comm": report.comm,
            },
            "victims": victims,
            "degraded": degraded,
        }))
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

fn resident(killed: &Killed) -> Value {
    let about = |bytes: u64| between(bytes.saturating_sub(SLACK), bytes.saturating_add(SLACK));
    json!({
        "anon": about(killed.anon),
        "file": about(killed.file),
        "shmem": about(killed.shmem),
    })
}

fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |part: i64| u64::try_from(part).unwrap_or(0);
    part(now.tv_sec)
        .saturating_mul(1_000_000_000)
        .saturating_add(part(now.tv_nsec))
}

fn wall() -> Result<u64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("a time after 1970")?;
    u64::try_from(now.as_nanos()).context("a time that fits")
}
