//! The node at work, and what the agent should report of a kill: its line, and its Events.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::api::Api;
use super::container::Container;
use super::event::{ExpectedEvent, compared, sorted};
use super::host::{AGENT, start_containerd};
use super::kubelet::{Kubelet, allow_agent};
use super::manifest::{ContainerPlan, PodPlan};
use crate::agent::find_message;
use crate::guest::incident::{CgroupFields, Moment, boot_id, expected_incident, find_incident};
use crate::guest::kill::ExpectedKill;
use crate::guest::kmsg::Kmsg;
use crate::guest::pods::delegate;
use crate::guest::scene::{json_lines, stray};
use crate::output::Output;
use crate::server::Server;
use crate::wait::HANG;

/// Of the `DaemonSet`.
const AGENT_LIMIT: u64 = 64 << 20;

/// As `daemonset.yaml` has them, but for where the API server is; its lines go by FIFOs.
const SCRIPT: &str = "exec /opt/bin/oom-agent run --output=json --log-format=json --procfs=/host/proc \
    --cgroupfs=/host/sys/fs/cgroup --http-listen=0.0.0.0:9155 --pin=/sys/fs/bpf/oom-agent --state=/state \
    --kubeconfig=/run/kubeconfig 1<>/ctl/0.out 2<>/ctl/1.out";

/// Of the host, to what in the container, and whether it may only be read.
const MOUNTS: [(&str, &str, bool); 6] = [
    ("/run", "/run", true),
    ("/proc", "/host/proc", true),
    ("/sys/fs/cgroup", "/host/sys/fs/cgroup", true),
    ("/sys/fs/bpf", "/sys/fs/bpf", false),
    ("/run/state", "/state", false),
    (AGENT, AGENT, true),
];

/// All that is running.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) kubelet: Kubelet,
    api: Api,
    agent: Container,
    incidents: Output,
    log: Output,
    kmsg: Kmsg,
    boot: String,
    /// IDs of the incidents that cases account for.
    accounted: Vec<Value>,
    _containerd: Server,
}

/// A kill that is going to happen, and what should be reported of it.
#[derive(Debug)]
pub(super) struct ExpectedReport<'a> {
    pub(super) kill: ExpectedKill<'a>,
    /// Fields of the incident that follow from the pod.
    pub(super) fields: Vec<(&'static str, Value)>,
    pub(super) events: Vec<ExpectedEvent<'a>>,
}

impl Stage {
    pub(super) fn open() -> Result<Self> {
        delegate("")?;
        let (containerd, cri) = start_containerd()?;
        let api = Api::start()?;
        let mut kubelet = Kubelet::start(cri, api.clone())?;
        let plans = [ContainerPlan::new("oom-agent", Some(AGENT_LIMIT), SCRIPT)];
        let [plan] = &plans;
        let pod = kubelet.run(PodPlan::new(&plans))?;
        fs::create_dir("/run/state").context("make the agent's state directory")?;
        let kubeconfig = api.kubeconfig()?.to_string();
        fs::write("/run/kubeconfig", kubeconfig).context("write a kubeconfig")?;
        let agent = kubelet.start_with(&pod, plan, |config| allow_agent(config, &MOUNTS))?;
        let incidents = Output::new("oom-agent", agent.open_control("0.out")?);
        let mut log = Output::new("oom-agent", agent.open_control("1.out")?);
        find_message(&mut log, "attached", HANG)?;
        Ok(Self {
            kubelet,
            api,
            agent,
            incidents,
            log,
            kmsg: Kmsg::open()?,
            boot: boot_id()?,
            accounted: Vec::new(),
            _containerd: containerd,
        })
    }

    /// Has a kill happen by `act`: what is expected of the agent's reports, and these.
    pub(super) fn play(
        &mut self,
        expected: &ExpectedReport<'_>,
        act: impl FnOnce() -> Result<()>,
    ) -> Result<Value> {
        let all = self.play_all(&[expected], act)?;
        all.into_iter().next().context("a kill")
    }

    /// The same of kills that follow from each other, in their order.
    pub(super) fn play_all(
        &mut self,
        all: &[&ExpectedReport<'_>],
        act: impl FnOnce() -> Result<()>,
    ) -> Result<Vec<Value>> {
        let cgroups = all.iter().map(|one| CgroupFields::read(&one.kill));
        let cgroups = cgroups.collect::<Result<Vec<_>>>()?;
        self.kmsg.skip()?;
        let from = Moment::now()?;
        act()?;
        let mut outcomes = Vec::new();
        for (one, cgroups) in all.iter().zip(cgroups) {
            let incident = find_incident(&mut self.incidents, &one.kill)?;
            let span = (from, Moment::now()?);
            let id = incident.get("id").cloned().unwrap_or_default();
            let report = self.kmsg.report(one.kill.victims.len())?;
            let mut expected = expected_incident(&self.boot, &one.kill, &report, span, cgroups)?;
            let fields = expected.as_object_mut().context("an incident")?;
            for (field, value) in &one.fields {
                fields.insert((*field).to_owned(), value.clone());
            }
            allow_removed(&mut expected, &incident)?;
            let events = self
                .api
                .events(id.as_str().unwrap_or_default(), one.events.len())
                .with_context(|| self.log.so_far().collect::<Vec<_>>().join("\n"))?;
            self.accounted.push(id);
            let expected_events = sorted(one.events.iter().map(ExpectedEvent::value));
            let events = sorted(events.iter().map(compared));
            outcomes.push(json!({
                "expected": {"incident": expected, "events": expected_events},
                "reported": {"incident": incident, "events": events},
            }));
        }
        Ok(outcomes)
    }

    /// Ends the agent: incidents that no case accounts for, its whole log, and every note.
    pub(super) fn close(mut self) -> Value {
        let pid = i32::try_from(self.agent.pid).ok().and_then(Pid::from_raw);
        let ended = pid.map(|pid| kill_process(pid, Signal::TERM));
        let summary = find_message(&mut self.log, "summary", HANG);
        json!({
            "stray": stray(&mut self.incidents, &self.accounted),
            "log": json_lines(&mut self.log),
            "notes": self.api.notes(),
            "ended": format!("{ended:?} {summary:?}"),
        })
    }
}

/// The runtime removes a dead container's cgroup, sooner or later than the agent reads it: `degraded` shows which.
fn allow_removed(expected: &mut Value, reported: &Value) -> Result<()> {
    let entries = reported.get("degraded").and_then(Value::as_array);
    let of_removed = |entry: &&Value| {
        entry.as_str().is_some_and(|entry| {
            entry.starts_with("memory[")
                && entry.ends_with("No such file or directory (os error 2)")
        })
    };
    let removed: Vec<&Value> = entries.into_iter().flatten().filter(of_removed).collect();
    let memory = expected.get_mut("memory").and_then(Value::as_array_mut);
    for (n, memory) in memory.into_iter().flatten().enumerate() {
        let own = format!("memory[{n}]");
        if removed
            .iter()
            .any(|entry| entry.as_str().is_some_and(|entry| entry.starts_with(&own)))
        {
            for field in ["stat", "swap_bytes", "swap_limit_bytes", "pressure"] {
                *memory.get_mut(field).context("a field of memory")? = Value::Null;
            }
        }
    }
    let degraded = expected.get_mut("degraded").and_then(Value::as_array_mut);
    degraded
        .context("degraded")?
        .extend(removed.into_iter().cloned());
    Ok(())
}
