//! A container that runs, and its processes.

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::manifest::{ALLOCATABLE, NAMESPACE};
use crate::expect::between;
use crate::guest::pods::Group;
use crate::guest::process::{Facts, Hog};

/// A container that was started.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) group: Group,
    /// Of its first process, on this host.
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) pod: String,
    pub(super) control: PathBuf,
}

// === impl Container ===

impl Container {
    /// Moves what runs in it to where systemd would have started it.
    pub(super) fn enter_scope(&mut self, pod: &Group) -> Result<()> {
        let runs_in = fs::read_to_string(format!("/proc/{}/cgroup", self.pid))
            .context("read a container's cgroup")?;
        let runs_in = runs_in.trim().trim_start_matches("0::");
        let scope = Group::create(&format!("{}/cri-containerd-{}.scope", pod.path, self.id))?;
        let old = Group::existing(runs_in);
        for file in ["memory.max", "memory.oom.group", "memory.swap.max"] {
            let value = fs::read_to_string(old.dir().join(file)).context("read a limit")?;
            scope.set(file, value.trim())?;
        }
        scope.enter(self.pid)?;
        self.group.path = scope.path;
        Ok(())
    }

    /// Waits until hog number `n` is at its gate.
    pub(super) fn hog(&self, n: u32) -> Result<Hog> {
        let open = |end: &str| self.open_control(&format!("{n}.{end}"));
        Hog::wait_at_gate(open("in")?, open("out")?)
    }

    /// The other end of what is `/ctl/name` in the container.
    pub(super) fn open_control(&self, name: &str) -> Result<File> {
        let at = self.control.join(name);
        // Both ways, so that none of the two waits for the other.
        let file = OpenOptions::new().read(true).write(true).open(&at);
        file.with_context(|| format!("open {}", at.display()))
    }

    /// Its first process as it is now.
    pub(super) fn facts(&self) -> Result<Facts> {
        self.facts_of(self.pid)
    }

    /// One of its processes as it is now.
    pub(super) fn facts_of(&self, pid: u32) -> Result<Facts> {
        named(Facts::read(pid, &self.group)?, &self.value(), &self.pod)
    }

    /// The limit to change is its own.
    pub(super) fn setting(&self, limit: u64) -> (&'static str, Value) {
        let setting = json!({"cgroup": self.group.path, "limit_bytes": limit});
        ("setting", setting)
    }

    /// It holds most of what its pod has: from `low` bytes on.
    pub(super) fn holder(&self, low: u64, limit: Option<u64>) -> (&'static str, Value) {
        let holder = json!({
            "cgroup": self.group.path,
            "usage_bytes": between(low, ALLOCATABLE),
            "limit_bytes": limit,
            "process": null,
            "container": self.value(),
            "pod": {"namespace": NAMESPACE, "name": self.pod, "uid": self.group.pod},
        });
        ("holders", json!([holder]))
    }

    /// The incident's `container`.
    pub(super) fn value(&self) -> Value {
        json!({"id": self.id, "name": self.name, "runtime": "containerd"})
    }

    /// The process ids of all that runs in it.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        let procs = self.group.dir().join("cgroup.procs");
        let procs = fs::read_to_string(procs).context("list a container's processes")?;
        procs
            .lines()
            .map(|pid| pid.parse().context("read a process id"))
            .collect()
    }

    /// The process beside its first one.
    pub(super) fn other_pid(&self) -> Result<u32> {
        let mut pids = self.pids()?.into_iter();
        pids.find(|pid| *pid != self.pid).context("another process")
    }
}

/// A process with the names that its runtime gives to container and pod.
pub(super) fn named(mut facts: Facts, container: &Value, pod: &str) -> Result<Facts> {
    let victim = facts.victim.as_object_mut().context("a victim")?;
    let uid = victim.get("pod").and_then(|pod| pod.get("uid")).cloned();
    victim.insert("container".to_owned(), container.clone());
    victim.insert(
        "pod".to_owned(),
        json!({"namespace": NAMESPACE, "name": pod, "uid": uid}),
    );
    facts.in_container = false;
    Ok(facts)
}
