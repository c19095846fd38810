//! The node at work, and what the agent should tell of a kill: its line, and its Events.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::SOON;
use super::api::Api;
use super::host::{AGENT, Containerd};
use super::kubelet::{Container, ContainerPlan, Kubelet, PodPlan, of_the_agent};
use crate::expect::note;
use crate::guest::kmsg::Kmsg;
use crate::guest::pods::delegate;
use crate::guest::scene::{Moment, Seen, Story, Surroundings, boot, expected, incident_of};
use crate::{Output, message};

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
    told: Vec<Value>,
    _containerd: Containerd,
}

/// What an Event should be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note<'a> {
    /// Kind, namespace and name of its object.
    pub(super) on: &'a str,
    pub(super) field_path: Option<&'a str>,
    pub(super) reason: &'a str,
    /// Its first sentence says who died, where and at which limit: each of these.
    pub(super) first: &'a [&'a str],
    /// What else it says.
    pub(super) says: &'a [&'a str],
    /// How its last sentence, the next step, begins after "Next: ".
    pub(super) next: &'a str,
    /// Whether volumes in memory are spoken of.
    pub(super) volumes: bool,
    /// Its characters at most: 400 where nothing unusual happened.
    pub(super) chars: usize,
}

/// What is going to happen, and what should be told of it.
#[derive(Debug)]
pub(super) struct Kill<'a> {
    pub(super) story: Story<'a>,
    /// Fields of the incident that follow from the pod.
    pub(super) more: Vec<(&'static str, Value)>,
    pub(super) notes: Vec<Note<'a>>,
}

impl Stage {
    pub(super) fn open() -> Result<Self> {
        delegate("")?;
        let (containerd, cri) = Containerd::start()?;
        let api = Api::start()?;
        let mut kubelet = Kubelet::start(cri, api.clone())?;
        let plans = [ContainerPlan::new("oom-agent", Some(AGENT_LIMIT), SCRIPT)];
        let [plan] = &plans;
        let pod = kubelet.run(PodPlan::new(&plans))?;
        fs::create_dir("/run/state").context("make the agent's state directory")?;
        let kubeconfig = api.kubeconfig()?.to_string();
        fs::write("/run/kubeconfig", kubeconfig).context("write a kubeconfig")?;
        let agent = kubelet.start_with(&pod, plan, |config| of_the_agent(config, &MOUNTS))?;
        let incidents = Output::new("oom-agent", agent.end("0.out")?);
        let mut log = Output::new("oom-agent", agent.end("1.out")?);
        log.find("message that it is attached", SOON, |line| {
            message(line)?.contains("attached").then_some(())
        })?;
        Ok(Self {
            kubelet,
            api,
            agent,
            incidents,
            log,
            kmsg: Kmsg::open()?,
            boot: boot()?,
            told: Vec::new(),
            _containerd: containerd,
        })
    }

    /// Has it happen by `go`: what the agent should tell of it, and what it tells.
    pub(super) fn play(
        &mut self,
        kill: &Kill<'_>,
        go: impl FnOnce() -> Result<()>,
    ) -> Result<Value> {
        let all = self.play_all(&[kill], go)?;
        all.into_iter().next().context("a kill")
    }

    /// The same of kills that follow from each other, in their order.
    pub(super) fn play_all(
        &mut self,
        kills: &[&Kill<'_>],
        go: impl FnOnce() -> Result<()>,
    ) -> Result<Vec<Value>> {
        let surroundings = kills.iter().map(|kill| Surroundings::read(&kill.story));
        let surroundings = surroundings.collect::<Result<Vec<_>>>()?;
        self.kmsg.skip()?;
        let from = Moment::now()?;
        go()?;
        let mut all = Vec::new();
        for (kill, surroundings) in kills.iter().zip(surroundings) {
            let story = &kill.story;
            let incident = incident_of(&mut self.incidents, story)?;
            let span = (from, Moment::now()?);
            let id = incident.get("id").cloned().unwrap_or_default();
            let report = self.kmsg.report(story.victims.len())?;
            let mut wanted = expected(&self.boot, story, &Seen::from(&report), span, surroundings)?;
            let fields = wanted.as_object_mut().context("an incident")?;
            for (field, value) in &kill.more {
                fields.insert((*field).to_owned(), value.clone());
            }
            allow_removed(&mut wanted, &incident)?;
            let events = self
                .api
                .events(id.as_str().unwrap_or_default(), kill.notes.len())
                .with_context(|| self.log.so_far().collect::<Vec<_>>().join("\n"))?;
            self.told.push(id);
            let notes = kill.notes.iter().map(Note::event);
            all.push(json!({
                "expected": {"incident": wanted, "events": sorted(notes)},
                "told": {"incident": incident, "events": sorted(events.iter().map(shown))},
            }));
        }
        Ok(all)
    }

    /// Ends the agent: incidents that no case accounts for, its whole log, and every note.
    pub(super) fn close(mut self) -> Value {
        let pid = i32::try_from(self.agent.pid).ok().and_then(Pid::from_raw);
        let ended = pid.map(|pid| kill_process(pid, Signal::TERM));
        let summary = self.log.find("its summary", SOON, |line| {
            (message(line)? == "summary").then_some(())
        });
        let lines = |output: &mut Output| -> Vec<Value> {
            let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| line.into());
            output.so_far().map(parse).collect()
        };
        let stray: Vec<Value> = lines(&mut self.incidents)
            .into_iter()
            .filter(|incident| {
                let id = incident.get("id").cloned().unwrap_or_default();
                !self.told.contains(&id)
            })
            .collect();
        json!({
            "stray": stray,
            "log": lines(&mut self.log),
            "notes": self.api.notes(),
            "ended": format!("{ended:?} {summary:?}"),
        })
    }
}

/// The runtime removes a dead container's cgroup, sooner or later than the agent reads it: then it says so.
fn allow_removed(expected: &mut Value, told: &Value) -> Result<()> {
    let entries = told.get("degraded").and_then(Value::as_array);
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

impl Note<'_> {
    fn event(&self) -> Value {
        json!({
            "on": self.on,
            "field_path": self.field_path,
            "reason": self.reason,
            "note": note(self.first, self.says, self.next, self.volumes, self.chars),
        })
    }
}

/// What is looked at of an Event.
fn shown(event: &Value) -> Value {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let of = |name: &str| text(&format!("/involvedObject/{name}")).unwrap_or_default();
    let on = [of("kind"), of("namespace"), of("name")].join(" ");
    json!({
        "on": on,
        "field_path": text("/involvedObject/fieldPath"),
        "reason": text("/reason"),
        "note": text("/message"),
    })
}

/// By object and container: they are written in no order that matters.
fn sorted(events: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut events: Vec<Value> = events.collect();
    let key = |event: &Value, name: &str| event.get(name).map(Value::to_string);
    events.sort_by_key(|event| (key(event, "on"), key(event, "field_path")));
    events
}
