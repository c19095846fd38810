//! The agent at work, and the kills that are played to it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::incident::{
    CgroupFields, Moment, boot_id, expect_holders, expected_incident, find_incident,
};
use super::kill::{ExpectedKill, Limit, NODE};
use super::kmsg::{KernelReport, Kmsg};
use super::process::{Plan, Process, start};
use crate::agent::Agent;
use crate::expect::differences;
use crate::output::Output;
use crate::wait::{self, HANG};

/// The kernel reports twice as many kills whole in as long: `oom_rs` of its `oom_kill_process`. The
/// other half is for cases of several kills.
const REPORTS: usize = 5;
const REPORTS_IN: Duration = Duration::from_secs(5);

/// A running agent, and the kernel's log.
#[derive(Debug)]
pub(super) struct Scene {
    agent: Agent,
    kmsg: Kmsg,
    boot: String,
    /// IDs of the incidents that cases account for.
    accounted: Vec<Value>,
    /// When each kill was played.
    played: Vec<Instant>,
}

impl Scene {
    pub(super) fn open() -> Result<Self> {
        let agent = Self::start_agent(&[])?;
        // Of a node's processes it is the largest when nothing else runs.
        let adj = format!("/proc/{}/oom_score_adj", agent.pid());
        fs::write(&adj, "-997").with_context(|| format!("write to {adj}"))?;
        Ok(Self {
            agent,
            kmsg: Kmsg::open()?,
            boot: boot_id()?,
            accounted: Vec::new(),
            played: Vec::new(),
        })
    }

    /// Another agent, with these flags too.
    pub(super) fn start_agent(more: &[&str]) -> Result<Agent> {
        let args = [&["--no-kubernetes", "--node-name", NODE], more].concat();
        Agent::start("/bin/oom-agent".as_ref(), &args, &[])
    }

    /// Has a kill happen by `act`: the incident that is expected, and the one that is reported.
    pub(super) fn play(
        &mut self,
        kill: &ExpectedKill<'_>,
        act: impl FnOnce() -> Result<()>,
    ) -> Result<Value> {
        self.await_report()?;
        self.kmsg.skip()?;
        self.observe(kill, act, |kmsg| kmsg.report(kill.victims.len()))
    }

    /// The same of a kill that the kernel does not log. Its victims hold still until then.
    pub(super) fn play_unlogged(
        &mut self,
        kill: &ExpectedKill<'_>,
        act: impl FnOnce() -> Result<()>,
    ) -> Result<Value> {
        self.observe(kill, act, |_| Ok(KernelReport::presume(kill, true)))
    }

    /// Starts a process that fills a limit: it is the victim, and it alone.
    pub(super) fn play_filling(&mut self, plan: Plan<'_>, limit: Limit<'_>) -> Result<Value> {
        self.play_gated(&mut start(plan)?, limit)
    }

    /// The same of one that was started.
    pub(super) fn play_gated(&mut self, process: &mut Process, limit: Limit<'_>) -> Result<Value> {
        let victims = [process.facts()?];
        let kill = ExpectedKill::at_limit(limit, &victims);
        self.play(&kill, || process.open_gate())
    }

    /// Has many kills happen at once: the differences between expected and reported incidents.
    pub(super) fn play_many(
        &mut self,
        kills: &[ExpectedKill<'_>],
        act: impl FnOnce() -> Result<()>,
    ) -> Result<Vec<String>> {
        let from = Moment::now()?;
        act()?;
        let mut wrong = Vec::new();
        for kill in kills {
            let reported = self.find_incident(kill)?;
            // Of so many the kernel logs the first ones only.
            let report = KernelReport::presume(kill, false);
            let expected = self.expected(kill, &report, (from, Moment::now()?))?;
            wrong.extend(differences(&expected, &reported));
        }
        Ok(wrong)
    }

    fn observe(
        &mut self,
        kill: &ExpectedKill<'_>,
        act: impl FnOnce() -> Result<()>,
        report: impl FnOnce(&mut Kmsg) -> Result<KernelReport>,
    ) -> Result<Value> {
        let from = Moment::now()?;
        act()?;
        let reported = self.find_incident(kill)?;
        let span = (from, Moment::now()?);
        let report = report(&mut self.kmsg)?;
        let mut expected = self.expected(kill, &report, span)?;
        expect_holders(&mut expected, &reported);
        Ok(json!({"expected": expected, "reported": reported}))
    }

    /// The reported incident of a kill's victims.
    pub(super) fn find_incident(&mut self, kill: &ExpectedKill<'_>) -> Result<Value> {
        let incident = find_incident(&mut self.agent.incidents, kill)?;
        self.account_for(&incident);
        Ok(incident)
    }

    /// The incident without a victim at that cgroup's limit. A second one would be stray.
    pub(super) fn find_without_victim(&mut self, cgroup: &str) -> Result<Value> {
        let incidents = &mut self.agent.incidents;
        let incident = incidents.find("an OOM without a victim", HANG, |line| {
            let incident: Value = serde_json::from_str(line).ok()?;
            let is_ours = incident.get("limit_cgroup")? == cgroup;
            let is_empty = incident.get("victims")?.as_array()?.is_empty();
            (is_ours && is_empty).then_some(incident)
        })?;
        self.account_for(&incident);
        Ok(incident)
    }

    fn account_for(&mut self, incident: &Value) {
        let id = incident.get("id").cloned();
        self.accounted.push(id.unwrap_or_default());
    }

    /// Waits until the kernel is ready to report another kill.
    fn await_report(&mut self) -> Result<()> {
        let mut played = self.played.iter().rev();
        if let Some(earlier) = played.nth(REPORTS.saturating_sub(2)).copied() {
            wait::until("the kernel's readiness to report", HANG, || {
                (earlier.elapsed() > REPORTS_IN).then_some(())
            })?;
        }
        self.played.push(Instant::now());
        Ok(())
    }

    fn expected(
        &self,
        kill: &ExpectedKill<'_>,
        report: &KernelReport,
        span: (Moment, Moment),
    ) -> Result<Value> {
        let cgroups = CgroupFields::read(kill)?;
        expected_incident(&self.boot, kill, report, span, cgroups)
    }

    /// Ends the agent: incidents that no case accounts for, and its whole log.
    pub(super) fn close(mut self) -> Value {
        self.agent.end();
        // Their streams end with it.
        self.agent.incidents.to_end(HANG);
        self.agent.log.to_end(HANG);
        json!({
            "stray": stray(&mut self.agent.incidents, &self.accounted),
            "log": json_lines(&mut self.agent.log),
        })
    }
}

/// The incidents that no case accounts for.
pub(super) fn stray(incidents: &mut Output, accounted: &[Value]) -> Vec<Value> {
    let mut incidents = json_lines(incidents);
    incidents.retain(|incident| {
        let id = incident.get("id").cloned().unwrap_or_default();
        !accounted.contains(&id)
    });
    incidents
}

/// All lines so far; what is no JSON is text.
pub(super) fn json_lines(output: &mut Output) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| line.into());
    output.so_far().map(parse).collect()
}

/// Some fields of an incident; those it has not are null.
pub(super) fn select(incident: &Value, fields: &[&str]) -> Map<String, Value> {
    let value = |field: &str| incident.get(field).cloned().unwrap_or_default();
    let fields = fields.iter();
    fields
        .map(|field| ((*field).to_owned(), value(field)))
        .collect()
}

/// What is expected at those JSON pointers, in place of what was.
pub(super) fn expect(outcome: &mut Value, more: &[(&str, Value)]) -> Result<()> {
    for (pointer, value) in more {
        let at = outcome.pointer_mut(&format!("/expected{pointer}"));
        at.with_context(|| format!("{pointer} is expected"))?
            .clone_from(value);
    }
    Ok(())
}
