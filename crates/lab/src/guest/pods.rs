//! cgroups as a kubelet makes them.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, mount};
use serde_json::{Value, json};

use crate::wait::{self, HANG};

pub(super) const MIB: u64 = 1 << 20;

pub(super) const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup of the unified hierarchy.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// From the hierarchy's root.
    pub(super) path: String,
    /// UID of the pod it is, or is in.
    pub(super) pod: Option<String>,
    /// ID of the container it is.
    pub(super) container: Option<String>,
}

impl Group {
    /// The burstable pods' parent.
    pub(super) fn burstable() -> Result<Self> {
        delegate("")?;
        for path in ["/kubepods", "/kubepods/burstable"] {
            Self::create(path)?;
            delegate(path)?;
        }
        Ok(Self::existing("/kubepods/burstable"))
    }

    /// Container number `n`, alone in pod number `n`.
    pub(super) fn single_container(n: u32) -> Result<Self> {
        Self::burstable()?.pod(n)?.container(n)
    }

    /// A cgroup that is no pod's.
    pub(super) fn create(path: &str) -> Result<Self> {
        let group = Self::existing(path);
        fs::create_dir(group.dir()).with_context(|| format!("make the cgroup {path}"))?;
        Ok(group)
    }

    pub(super) fn existing(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            pod: None,
            container: None,
        }
    }

    /// A cgroup within this one, of the same pod and container.
    pub(super) fn child(&self, name: &str) -> Result<Self> {
        Ok(Self {
            pod: self.pod.clone(),
            container: self.container.clone(),
            ..Self::create(&format!("{}/{name}", self.path))?
        })
    }

    /// The pod number `n` below this cgroup.
    pub(super) fn pod(&self, n: u32) -> Result<Self> {
        let uid = format!("6a4ce4a0-ba47-11ea-b2a7-{n:012x}");
        let pod = Self {
            pod: Some(uid.clone()),
            ..self.child(&format!("pod{uid}"))?
        };
        delegate(&pod.path)?;
        Ok(pod)
    }

    /// The container number `n` of this pod.
    pub(super) fn container(&self, n: u32) -> Result<Self> {
        let id = format!("17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b05{n:08x}");
        Ok(Self {
            container: Some(id.clone()),
            ..self.child(&id)?
        })
    }

    /// Limits it to `bytes` of memory.
    pub(super) fn limit(self, bytes: u64) -> Result<Self> {
        self.set("memory.max", bytes)?;
        Ok(self)
    }

    /// Has the kernel kill all of its processes together.
    pub(super) fn kill_as_group(self) -> Result<Self> {
        self.set("memory.oom.group", 1)?;
        Ok(self)
    }

    /// Moves a process into it.
    pub(super) fn enter(&self, pid: u32) -> Result<()> {
        self.set("cgroup.procs", pid)
    }

    pub(super) fn set(&self, file: &str, value: impl Display) -> Result<()> {
        let path = self.dir().join(file);
        fs::write(&path, value.to_string())
            .with_context(|| format!("write {value} to {}", path.display()))
    }

    pub(super) fn dir(&self) -> PathBuf {
        PathBuf::from(format!("{ROOT}{}", self.path))
    }

    /// An incident's `container`, without a runtime that knows its name.
    pub(super) fn container_json(&self) -> Value {
        let container = self.container.as_ref();
        json!(container.map(|id| json!({"id": id, "name": null, "runtime": null})))
    }

    /// An incident's `pod`, without a runtime that knows its name.
    pub(super) fn pod_json(&self) -> Value {
        let pod = self.pod.as_ref();
        json!(pod.map(|uid| json!({"namespace": null, "name": null, "uid": uid})))
    }
}

/// Freezes a process until the kernel wants its memory, by cgroup v1's freezer: what that holds does not
/// even take SIGKILL.
pub(super) fn freeze(pid: u32) -> Result<()> {
    let freezer = Path::new("/tmp/freezer");
    fs::create_dir(freezer).context("make a directory for the freezer")?;
    let flags = MountFlags::empty();
    mount("cgroup", freezer, "cgroup", flags, Some(c"freezer"))
        .context("mount cgroup v1's freezer")?;
    let group = freezer.join(pid.to_string());
    fs::create_dir(&group).context("make a cgroup in the freezer")?;
    fs::write(group.join("cgroup.procs"), pid.to_string()).context("enter the freezer")?;
    let state = group.join("freezer.state");
    fs::write(&state, "FROZEN").context("freeze")?;
    wait::until("frozen process", HANG, || {
        let state = fs::read_to_string(&state).ok()?;
        (state.trim() == "FROZEN").then_some(())
    })
}

/// Children of that cgroup may have limits of memory.
pub(super) fn delegate(path: &str) -> Result<()> {
    Group::existing(path).set("cgroup.subtree_control", "+memory")
}
