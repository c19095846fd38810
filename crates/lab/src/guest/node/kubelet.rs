//! Pods, made as a kubelet of Kubernetes 1.32 and later makes them on cgroup v2.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use proto::cri::{
    Capability, ContainerConfig, ContainerState, KeyValue, LinuxContainerResources, Mount,
    PodSandboxConfig, SecurityProfile,
};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};

use super::api::Api;
use super::container::{Container, named};
use super::event::ExpectedEvent;
use super::manifest::{ALLOCATABLE, ContainerPlan, Driver, NAMESPACE, PodPlan};
use crate::cri::{self, Cri, container_config, sandbox_config, texts};
use crate::expect::between;
use crate::guest::kill::NODE;
use crate::guest::memory::meminfo;
use crate::guest::pods::{Group, delegate};
use crate::guest::process::Facts;
use crate::wait::{self, HANG};

/// Below its volumes' directories a kubelet keeps what containers see.
const PODS: &str = "/var/lib/kubelet/pods";

/// Where a container finds its pod's memory-backed volume.
const VOLUME: &str = "/cache";

/// The node's kubelet, as far as one is needed.
#[derive(Debug)]
pub(super) struct Kubelet {
    cri: Cri,
    api: Api,
    made: u32,
}

/// A pod with its sandbox.
#[derive(Debug)]
pub(super) struct Pod<'a> {
    plan: PodPlan<'a>,
    pub(super) group: Group,
    /// As the runtime knows it.
    identity: cri::Pod,
    /// What its Events are on.
    on: String,
    sandbox: String,
    config: PodSandboxConfig,
}

/// As many have a control each.
const CONTROLS: u32 = 3;

// === impl Kubelet ===

impl Kubelet {
    /// Makes the cgroups above those of pods.
    pub(super) fn start(cri: Cri, api: Api) -> Result<Self> {
        for path in [
            "/kubepods",
            "/kubepods/burstable",
            "/kubepods/besteffort",
            "/kubepods.slice",
            "/kubepods.slice/kubepods-burstable.slice",
        ] {
            Group::create(path)?;
            delegate(path)?;
        }
        for top in ["/kubepods", "/kubepods.slice"] {
            Group::existing(top).limit(ALLOCATABLE)?;
        }
        Ok(Self { cri, api, made: 0 })
    }

    /// Makes the pod's cgroup and its volumes, and runs its sandbox.
    pub(super) fn run<'a>(&mut self, plan: PodPlan<'a>) -> Result<Pod<'a>> {
        self.made = self.made.saturating_add(1);
        let uid = format!("cdca04fa-af25-4b34-81e7-{:012x}", self.made);
        let name = format!("web-{}", self.made);
        let group = Group {
            pod: Some(uid.clone()),
            ..Group::create(&plan.cgroup(&uid))?
        };
        delegate(&group.path)?;
        if let Some(bytes) = plan.limit.or_else(|| plan.max()) {
            group.set("memory.max", bytes)?;
        }
        let dir = format!("{PODS}/{uid}");
        for sub in ["control", "volume", "log"] {
            fs::create_dir_all(format!("{dir}/{sub}")).context("make a pod's directory")?;
        }
        if plan.volume {
            mount(
                "tmpfs",
                format!("{dir}/volume"),
                "tmpfs",
                MountFlags::empty(),
                None,
            )
            .context("mount a memory-backed volume")?;
        }
        let identity = cri::Pod {
            namespace: NAMESPACE.to_owned(),
            name,
            uid,
            annotations: vec![
                (
                    "kubernetes.io/config.seen",
                    "2026-11-21T09:00:00.123456789Z",
                ),
                ("kubernetes.io/config.source", "api"),
            ],
        };
        let cri::Pod { name, uid, .. } = &identity;
        self.api.put(NAMESPACE, name, plan.object(name, uid));
        let config = sandbox_config(&identity, format!("{dir}/log"), group.path.clone());
        Ok(Pod {
            plan,
            group,
            on: format!("Pod {NAMESPACE} {name}"),
            identity,
            sandbox: self.cri.run_sandbox(config.clone())?,
            config,
        })
    }

    /// Starts the container of that name.
    pub(super) fn start_container(&mut self, pod: &Pod<'_>, name: &str) -> Result<Container> {
        let plan = pod.plan.containers.iter().find(|plan| plan.name == name);
        let plan = plan.with_context(|| format!("no container is called {name}"))?;
        self.start_with(pod, plan, |_| {})
    }

    /// The same, with what a manifest has beyond the usual.
    pub(super) fn start_with(
        &mut self,
        pod: &Pod<'_>,
        plan: &ContainerPlan<'_>,
        more: impl FnOnce(&mut ContainerConfig),
    ) -> Result<Container> {
        let control = PathBuf::from(format!("{PODS}/{}/control/{}", pod.identity.uid, plan.name));
        fs::create_dir(&control).context("make a directory for controls")?;
        for n in 0..CONTROLS {
            for end in ["in", "out"] {
                let at = control.join(format!("{n}.{end}"));
                mkfifoat(CWD, &at, Mode::RUSR | Mode::WUSR).context("make a FIFO")?;
            }
        }
        let mut config = pod.container_config(plan)?;
        config
            .mounts
            .push(mounted(&control.to_string_lossy(), "/ctl", false));
        more(&mut config);
        let (id, pid) = self
            .cri
            .run_container(&pod.sandbox, config, pod.config.clone())?;
        let group = Group {
            path: format!("{}/{id}", pod.group.path),
            pod: Some(pod.identity.uid.clone()),
            container: Some(id.clone()),
        };
        let mut container = Container {
            id,
            group,
            pid,
            name: plan.name.to_owned(),
            pod: pod.identity.name.clone(),
            control,
        };
        if pod.plan.driver == Driver::Systemd {
            container.enter_scope(&pod.group)?;
        }
        Ok(container)
    }

    /// Runs a container to its end.
    pub(super) fn run_to_end(&mut self, pod: &Pod<'_>, name: &str) -> Result<()> {
        let container = self.start_container(pod, name)?;
        let code = wait::until("a container's end", HANG, || {
            let status = self.cri.status(&container.id, false).ok()?.status?;
            let ended = status.state() == ContainerState::ContainerExited;
            ended.then_some(status.exit_code)
        })?;
        ensure!(code == 0, "container {name} ended with {code}");
        Ok(())
    }

    /// Ends a pod, with all that there was of it.
    pub(super) fn remove(&mut self, pod: &Pod<'_>) -> Result<()> {
        self.api.remove(NAMESPACE, &pod.identity.name);
        // What still holds memory while it ends has the next one meet the limit: another OOM.
        pod.group.set("memory.max", "max")?;
        pod.group.set("cgroup.kill", "1")?;
        self.cri.remove_sandbox(&pod.sandbox)?;
        if pod.plan.volume {
            let volume = format!("{PODS}/{}/volume", pod.identity.uid);
            unmount(volume, UnmountFlags::DETACH).context("unmount a volume")?;
        }
        Ok(())
    }
}

// === impl Pod ===

impl Pod<'_> {
    /// The same Event, on this pod.
    pub(super) fn event<'b>(&'b self, event: ExpectedEvent<'b>) -> ExpectedEvent<'b> {
        ExpectedEvent {
            on: &self.on,
            ..event
        }
    }

    /// The cgroup of its sandbox.
    pub(super) fn sandbox_group(&self) -> Group {
        Group {
            path: format!("{}/{}", self.group.path, self.sandbox),
            pod: Some(self.identity.uid.clone()),
            container: Some(self.sandbox.clone()),
        }
    }

    /// It holds from `low` bytes on, most of them in that container; it has no limit.
    pub(super) fn holder(&self, container: &Container, low: u64) -> Value {
        json!({
            "cgroup": self.group.path,
            "usage_bytes": between(low, ALLOCATABLE),
            "limit_bytes": null,
            "process": null,
            "container": container.value(),
            "pod": {"namespace": NAMESPACE, "name": self.identity.name, "uid": self.identity.uid},
        })
    }

    /// A process in there, which is none of its containers'.
    pub(super) fn in_sandbox(&self, mut facts: Facts) -> Result<Facts> {
        // What it is to its sandbox, the runtime alone knows.
        if let Some(first) = facts.victim.get_mut("first_process") {
            *first = Value::Null;
        }
        let container = json!({"id": self.sandbox, "name": null, "runtime": "containerd"});
        named(facts, &container, &self.identity.name)
    }

    fn container_config(&self, plan: &ContainerPlan<'_>) -> Result<ContainerConfig> {
        let group = if plan.single { "0" } else { "1" };
        // A pod's own limit is that of each container without one, too.
        let limit = plan.limit.or(self.plan.limit).unwrap_or_default();
        let resources = LinuxContainerResources {
            cpu_shares: 2,
            memory_limit_in_bytes: i64::try_from(limit).context("a limit that fits")?,
            oom_score_adj: self.oom_score_adj(plan)?,
            unified: texts(&[
                ("memory.oom.group", group),
                ("memory.swap.max", &plan.swap.to_string()),
            ]),
        };
        let mut config = container_config(&self.identity, plan.name, plan.script, resources);
        config.mounts.push(mounted("/init", "/bin/hog", true));
        if self.plan.volume {
            let volume = format!("{PODS}/{}/volume", self.identity.uid);
            config.mounts.push(mounted(&volume, VOLUME, false));
        }
        config.annotations = texts(&[
            ("io.kubernetes.container.hash", "6f1c0a52"),
            ("io.kubernetes.container.restartCount", "0"),
            (
                "io.kubernetes.container.terminationMessagePath",
                "/dev/termination-log",
            ),
            ("io.kubernetes.container.terminationMessagePolicy", "File"),
            ("io.kubernetes.pod.terminationGracePeriod", "30"),
        ]);
        let linux = config.linux.get_or_insert_default();
        let security = linux.security_context.get_or_insert_default();
        security.seccomp = Some(SecurityProfile::default());
        Ok(config)
    }

    /// Of a burstable pod: the less, the more of the node's memory is requested, and what is not
    /// requested for itself is what may be used at most.
    fn oom_score_adj(&self, plan: &ContainerPlan<'_>) -> Result<i64> {
        if self.plan.is_best_effort() {
            return Ok(1000);
        }
        let requested = plan.limit.unwrap_or_default().saturating_mul(1000);
        let share = requested
            .checked_div(meminfo("MemTotal:")?)
            .unwrap_or_default();
        let adj = 1000_i64.saturating_sub(i64::try_from(share).context("a share that fits")?);
        Ok(adj.clamp(3, 999))
    }
}

/// What `daemonset.yaml` gives the agent beyond the usual.
pub(super) fn allow_agent(config: &mut ContainerConfig, mounts: &[(&str, &str, bool)]) {
    for (from, to, readonly) in mounts {
        config.mounts.push(mounted(from, to, *readonly));
    }
    config.envs.push(KeyValue {
        key: "NODE_NAME".to_owned(),
        value: NODE.to_owned(),
    });
    let linux = config.linux.get_or_insert_default();
    let resources = linux.resources.get_or_insert_default();
    // system-node-critical
    resources.oom_score_adj = -997;
    let security = linux.security_context.get_or_insert_default();
    security.no_new_privs = true;
    security.readonly_rootfs = true;
    security.capabilities = Some(Capability {
        add_capabilities: ["BPF", "PERFMON"].map(str::to_owned).to_vec(),
        drop_capabilities: vec!["ALL".to_owned()],
    });
}

fn mounted(host_path: &str, container_path: &str, readonly: bool) -> Mount {
    Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_owned(),
        readonly,
    }
}
