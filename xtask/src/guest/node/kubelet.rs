//! Pods, made as a kubelet of Kubernetes 1.32 and later makes them on cgroup v2.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use proto::cri::{
    Capability, ContainerConfig, ContainerMetadata, ContainerState, ImageSpec, KeyValue,
    LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, Mount, PodSandboxConfig,
    PodSandboxMetadata, SecurityProfile,
};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};

use super::SOON;
use super::api::Api;
use super::stage::Note;
use crate::expect::between;
use crate::guest::cases::memory;
use crate::guest::pods::{Group, delegate};
use crate::guest::process::Facts;
use crate::guest::scene::NODE;
use crate::lab::{Cri, IMAGE, Output, namespaces, wait};

/// A hog says fewer lines than these.
const WORDS: usize = 8;

/// Below its volumes' directories a kubelet keeps what containers see.
const PODS: &str = "/var/lib/kubelet/pods";

/// Where a container finds its pod's memory-backed volume.
const VOLUME: &str = "/cache";

/// Which of the pod's lists a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Main,
    Init,
    Sidecar,
    Ephemeral,
}

/// The kubelet's cgroup driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    Cgroupfs,
    /// There is no systemd here: its cgroups are made by their names.
    Systemd,
}

/// A container of a manifest.
#[derive(Debug, Clone, Copy)]
pub(super) struct ContainerPlan<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// `resources.limits.memory`.
    pub(super) limit: Option<u64>,
    /// What its shell runs; see [`hog`].
    pub(super) script: &'a str,
    /// `singleProcessOOMKill` of the kubelet's configuration.
    pub(super) single: bool,
    /// What of swap it may use.
    pub(super) swap: u64,
}

/// A manifest.
#[derive(Debug, Clone, Copy)]
pub(super) struct PodPlan<'a> {
    pub(super) driver: Driver,
    /// `spec.resources.limits.memory`.
    pub(super) limit: Option<u64>,
    /// It has an `emptyDir` of medium `Memory`.
    pub(super) volume: bool,
    pub(super) containers: &'a [ContainerPlan<'a>],
}

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
    name: String,
    /// What its Events are on.
    on: String,
    uid: String,
    sandbox: String,
    config: PodSandboxConfig,
}

/// A container that was started.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) group: Group,
    /// Of its first process, on this host.
    pub(super) pid: u32,
    name: String,
    pod: String,
    control: PathBuf,
}

/// The two ends of a process that waits at its gate.
#[derive(Debug)]
pub(super) struct Hog {
    stdin: File,
    output: Output,
}

/// What a shell runs to become a hog whose standard input and output are number `n` of its container's.
pub(super) fn hog(n: u32, args: &str) -> String {
    format!("exec hog hog {args} --gate 0<>/ctl/{n}.in 1<>/ctl/{n}.out")
}

/// As many have a control each.
const CONTROLS: u32 = 3;

// === impl ContainerPlan ===

impl<'a> ContainerPlan<'a> {
    pub(super) fn new(name: &'a str, limit: Option<u64>, script: &'a str) -> Self {
        Self {
            name,
            kind: Kind::Main,
            limit,
            script,
            single: false,
            swap: 0,
        }
    }

    pub(super) fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    pub(super) fn single(self) -> Self {
        Self {
            single: true,
            ..self
        }
    }
}

// === impl PodPlan ===

impl<'a> PodPlan<'a> {
    pub(super) fn new(containers: &'a [ContainerPlan<'a>]) -> Self {
        Self {
            driver: Driver::Cgroupfs,
            limit: None,
            volume: false,
            containers,
        }
    }

    /// `memory.max` of its cgroup: its own, else the sum of its containers' where each has one.
    fn max(&self) -> Option<u64> {
        let of = |kinds: &[Kind]| {
            let those = self
                .containers
                .iter()
                .filter(|one| kinds.contains(&one.kind));
            those.map(|one| one.limit).collect::<Option<Vec<u64>>>()
        };
        let together: u64 = of(&[Kind::Main, Kind::Sidecar])?.iter().sum();
        let before = of(&[Kind::Init])?.into_iter().max().unwrap_or_default();
        Some(together.max(before))
    }

    fn is_best_effort(&self) -> bool {
        let mut limits = self.containers.iter().map(|container| container.limit);
        self.limit.is_none() && limits.all(|limit| limit.is_none())
    }

    /// The path of its cgroup.
    fn cgroup(&self, uid: &str) -> String {
        let class = if self.is_best_effort() {
            "besteffort"
        } else {
            "burstable"
        };
        match self.driver {
            Driver::Cgroupfs => format!("/kubepods/{class}/pod{uid}"),
            Driver::Systemd => {
                let uid = uid.replace('-', "_");
                format!("/kubepods.slice/kubepods-{class}.slice/kubepods-{class}-pod{uid}.slice")
            }
        }
    }

    /// As the API server has it.
    fn object(&self, name: &str, uid: &str) -> Value {
        let limits = |limit: Option<u64>| match limit {
            Some(bytes) => json!({"limits": {"memory": bytes.to_string()}}),
            None => json!({}),
        };
        let containers = |kinds: &[Kind]| -> Vec<Value> {
            let those = self
                .containers
                .iter()
                .filter(|one| kinds.contains(&one.kind));
            those
                .map(|container| {
                    let always = (container.kind == Kind::Sidecar).then_some("Always");
                    json!({
                        "name": container.name,
                        "image": IMAGE,
                        "resources": limits(container.limit),
                        "restartPolicy": always,
                    })
                })
                .collect()
        };
        let volumes = self
            .volume
            .then(|| json!({"name": "cache", "emptyDir": {"medium": "Memory"}}));
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": uid},
            "spec": {
                "nodeName": NODE,
                "containers": containers(&[Kind::Main]),
                "initContainers": containers(&[Kind::Init, Kind::Sidecar]),
                "ephemeralContainers": containers(&[Kind::Ephemeral]),
                "resources": limits(self.limit),
                "volumes": volumes.into_iter().collect::<Vec<_>>(),
            },
            "status": {"phase": "Running"},
        })
    }
}

/// What all pods together may have.
pub(super) const ALLOCATABLE: u64 = 384 << 20;

/// Of every pod.
const NAMESPACE: &str = "shop";

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
            Group::plain(path)?;
            delegate(path)?;
        }
        for top in ["/kubepods", "/kubepods.slice"] {
            let top = Group {
                path: top.to_owned(),
                pod: None,
                container: None,
            };
            top.limit(ALLOCATABLE)?;
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
            ..Group::plain(&plan.cgroup(&uid))?
        };
        delegate(&group.path)?;
        if let Some(bytes) = plan.limit.or_else(|| plan.max()) {
            group.set("memory.max", &bytes.to_string())?;
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
        let labels = labels(&name, &uid);
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.clone(),
                uid: uid.clone(),
                namespace: NAMESPACE.to_owned(),
                attempt: 0,
            }),
            log_directory: format!("{dir}/log"),
            labels,
            annotations: texts(&[
                (
                    "kubernetes.io/config.seen",
                    "2026-11-21T09:00:00.123456789Z",
                ),
                ("kubernetes.io/config.source", "api"),
            ]),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: group.path.clone(),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces()),
                }),
            }),
            ..Default::default()
        };
        self.api.put(NAMESPACE, &name, plan.object(&name, &uid));
        Ok(Pod {
            plan,
            group,
            on: format!("Pod {NAMESPACE} {name}"),
            name,
            sandbox: self.cri.run_sandbox(config.clone())?,
            uid,
            config,
        })
    }

    /// Starts the container of that name.
    pub(super) fn start_container(&mut self, pod: &Pod<'_>, name: &str) -> Result<Container> {
        let plan = pod.plan.containers.iter().find(|plan| plan.name == name);
        let plan = plan.with_context(|| format!("no container is called {name}"))?;
        self.start_with(pod, plan, |_| {})
    }

    /// The same, with what a manifest says beyond the usual.
    pub(super) fn start_with(
        &mut self,
        pod: &Pod<'_>,
        plan: &ContainerPlan<'_>,
        more: impl FnOnce(&mut ContainerConfig),
    ) -> Result<Container> {
        let control = PathBuf::from(format!("{PODS}/{}/control/{}", pod.uid, plan.name));
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
            pod: Some(pod.uid.clone()),
            container: Some(id.clone()),
        };
        let mut container = Container {
            id,
            group,
            pid,
            name: plan.name.to_owned(),
            pod: pod.name.clone(),
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
        let code = wait::until("a container's end", SOON, || {
            let status = self.cri.status(&container.id, false).ok()?.status?;
            let ended = status.state() == ContainerState::ContainerExited;
            ended.then_some(status.exit_code)
        })?;
        ensure!(code == 0, "container {name} ended with {code}");
        Ok(())
    }

    /// Ends a pod, with all that there was of it.
    pub(super) fn remove(&mut self, pod: &Pod<'_>) -> Result<()> {
        self.api.remove(NAMESPACE, &pod.name);
        pod.group.set("cgroup.kill", "1")?;
        self.cri.remove_sandbox(&pod.sandbox)?;
        if pod.plan.volume {
            let volume = format!("{PODS}/{}/volume", pod.uid);
            unmount(volume, UnmountFlags::DETACH).context("unmount a volume")?;
        }
        Ok(())
    }
}

// === impl Pod ===

impl Pod<'_> {
    /// The same note, on this pod.
    pub(super) fn note<'b>(&'b self, note: Note<'b>) -> Note<'b> {
        Note {
            on: &self.on,
            ..note
        }
    }

    /// The cgroup of its sandbox.
    pub(super) fn sandbox_group(&self) -> Group {
        Group {
            path: format!("{}/{}", self.group.path, self.sandbox),
            pod: Some(self.uid.clone()),
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
            "container": container.told(),
            "pod": {"namespace": NAMESPACE, "name": self.name, "uid": self.uid},
        })
    }

    /// A process in there, which is none of its containers'.
    pub(super) fn in_sandbox(&self, facts: Facts) -> Result<Facts> {
        let container = json!({"id": self.sandbox, "name": null, "runtime": "containerd"});
        named(facts, &container, &self.name)
    }

    fn container_config(&self, plan: &ContainerPlan<'_>) -> Result<ContainerConfig> {
        let mut labels = labels(&self.name, &self.uid);
        labels.extend(texts(&[("io.kubernetes.container.name", plan.name)]));
        let group = if plan.single { "0" } else { "1" };
        // A pod's own limit is that of each container without one, too.
        let limit = plan.limit.or(self.plan.limit).unwrap_or_default();
        let mut mounts = vec![mounted("/init", "/bin/hog", true)];
        if self.plan.volume {
            let volume = format!("{PODS}/{}/volume", self.uid);
            mounts.push(mounted(&volume, VOLUME, false));
        }
        Ok(ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: plan.name.to_owned(),
                attempt: 0,
            }),
            image: Some(ImageSpec {
                image: IMAGE.to_owned(),
                user_specified_image: IMAGE.to_owned(),
            }),
            command: ["/bin/sh", "-c", plan.script].map(str::to_owned).to_vec(),
            mounts,
            labels,
            annotations: texts(&[
                ("io.kubernetes.container.hash", "6f1c0a52"),
                ("io.kubernetes.container.restartCount", "0"),
                (
                    "io.kubernetes.container.terminationMessagePath",
                    "/dev/termination-log",
                ),
                ("io.kubernetes.container.terminationMessagePolicy", "File"),
                ("io.kubernetes.pod.terminationGracePeriod", "30"),
            ]),
            log_path: format!("{}_0.log", plan.name),
            linux: Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources {
                    cpu_shares: 2,
                    memory_limit_in_bytes: i64::try_from(limit).context("a limit that fits")?,
                    oom_score_adj: self.oom_score_adj(plan)?,
                    unified: texts(&[
                        ("memory.oom.group", group),
                        ("memory.swap.max", &plan.swap.to_string()),
                    ]),
                }),
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces()),
                    seccomp: Some(SecurityProfile::default()),
                    ..Default::default()
                }),
            }),
            ..Default::default()
        })
    }

    /// Of a burstable pod: the less, the more of the node's memory is requested, and what is not
    /// requested for itself is what may be used at most.
    fn oom_score_adj(&self, plan: &ContainerPlan<'_>) -> Result<i64> {
        if self.plan.is_best_effort() {
            return Ok(1000);
        }
        let requested = plan.limit.unwrap_or_default().saturating_mul(1000);
        let share = requested.checked_div(memory()?).unwrap_or_default();
        let adj = 1000_i64.saturating_sub(i64::try_from(share).context("a share that fits")?);
        Ok(adj.clamp(3, 999))
    }
}

// === impl Container ===

impl Container {
    /// Moves what runs in it to where systemd would have started it.
    fn enter_scope(&mut self, pod: &Group) -> Result<()> {
        let runs_in = fs::read_to_string(format!("/proc/{}/cgroup", self.pid))
            .context("read a container's cgroup")?;
        let runs_in = runs_in.trim().trim_start_matches("0::").to_owned();
        let scope = Group::plain(&format!("{}/cri-containerd-{}.scope", pod.path, self.id))?;
        let old = Group {
            path: runs_in,
            pod: None,
            container: None,
        };
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
        let mut hog = Hog {
            stdin: self.end(&format!("{n}.in"))?,
            output: Output::with_room("hog", self.end(&format!("{n}.out"))?, WORDS),
        };
        hog.said("ready")?;
        Ok(hog)
    }

    /// The other end of what is `/ctl/name` in the container.
    pub(super) fn end(&self, name: &str) -> Result<File> {
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
        named(Facts::read(pid, &self.group)?, &self.told(), &self.pod)
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
            "container": self.told(),
            "pod": {"namespace": NAMESPACE, "name": self.pod, "uid": self.group.pod},
        });
        ("holders", json!([holder]))
    }

    fn told(&self) -> Value {
        json!({"id": self.id, "name": self.name, "runtime": "containerd"})
    }

    /// The process ids of all that runs in it.
    pub(super) fn all(&self) -> Result<Vec<u32>> {
        let procs = self.group.dir().join("cgroup.procs");
        let procs = fs::read_to_string(procs).context("list a container's processes")?;
        procs
            .lines()
            .map(|pid| pid.parse().context("read a process id"))
            .collect()
    }

    /// The process beside its first one.
    pub(super) fn other(&self) -> Result<u32> {
        let mut all = self.all()?.into_iter();
        all.find(|pid| *pid != self.pid).context("another process")
    }
}

/// A process with the names that its runtime gives to container and pod.
fn named(mut facts: Facts, container: &Value, pod: &str) -> Result<Facts> {
    let told = facts.told.as_object_mut().context("what is told")?;
    let uid = told.get("pod").and_then(|pod| pod.get("uid")).cloned();
    told.insert("container".to_owned(), container.clone());
    told.insert(
        "pod".to_owned(),
        json!({"namespace": NAMESPACE, "name": pod, "uid": uid}),
    );
    facts.in_container = false;
    Ok(facts)
}

// === impl Hog ===

impl Hog {
    /// Opens the gate.
    pub(super) fn go(&mut self) -> Result<()> {
        self.stdin.write_all(b"\n").context("open a hog's gate")
    }

    /// Waits until it says a line that begins so.
    pub(super) fn said(&mut self, start: &str) -> Result<()> {
        self.output
            .find(start, SOON, |line| line.starts_with(start).then_some(()))
    }
}

/// Who may do what the agent of `DaemonSet` may, see `daemonset.yaml`.
pub(super) fn of_the_agent(config: &mut ContainerConfig, mounts: &[(&str, &str, bool)]) {
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

/// As the kubelet labels sandboxes and containers.
fn labels(name: &str, uid: &str) -> HashMap<String, String> {
    texts(&[
        ("io.kubernetes.pod.name", name),
        ("io.kubernetes.pod.namespace", NAMESPACE),
        ("io.kubernetes.pod.uid", uid),
    ])
}

fn texts(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}
