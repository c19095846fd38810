//! A client of the CRI, as much of one as a kubelet is to its runtime.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use proto::cri::runtime_service_client::RuntimeServiceClient;
use proto::cri::{
    ContainerConfig, ContainerMetadata, ContainerStatus, ContainerStatusRequest,
    ContainerStatusResponse, CreateContainerRequest, ImageSpec, LinuxContainerConfig,
    LinuxContainerResources, LinuxContainerSecurityContext, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest,
    StopPodSandboxRequest, VersionRequest,
};
use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use crate::containerd::Containerd;
use crate::wait::{self, HANG};
use crate::{background, cgroup};

pub(crate) const IMAGE: &str = "localhost/busybox:1";

/// Who a pod is.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name in there.
    pub name: String,
    /// As the API server, or the kubelet, gave it.
    pub uid: String,
    /// What it is annotated with.
    pub annotations: Vec<(&'static str, &'static str)>,
}

/// A container that waits at its gate.
#[derive(Debug)]
pub struct Gated {
    /// The runtime's.
    pub id: String,
    /// Of its first process, on this host.
    pub pid: u32,
    /// Path in the memory controller's hierarchy.
    pub cgroup: String,
    gate: PathBuf,
}

impl Gated {
    /// Lets it eat memory until it is killed, from the returned moment on.
    pub fn open(&self) -> Result<Instant> {
        let opened = Instant::now();
        OpenOptions::new()
            .write(true)
            .open(&self.gate)
            .with_context(|| format!("open {}", self.gate.display()))?;
        Ok(opened)
    }
}

/// A connection to a container runtime.
#[derive(Debug)]
pub(crate) struct Cri {
    runtime: Runtime,
    client: RuntimeServiceClient<Channel>,
}

/// A pod that runs, for any number of containers.
#[derive(Debug)]
pub struct Sandbox<'a> {
    containerd: &'a Containerd,
    pod: Pod,
    cri: Cri,
    id: String,
    config: PodSandboxConfig,
}

impl<'a> Sandbox<'a> {
    /// Has the runtime run it.
    pub fn run(containerd: &'a Containerd, pod: &Pod) -> Result<Self> {
        let mut cri = Cri::connect(&containerd.socket())?;
        let log = format!("{}/log/{}", containerd.dir().display(), pod.uid);
        let config = sandbox_config(pod, log, containerd.pod_cgroup(&pod.uid));
        Ok(Self {
            containerd,
            pod: pod.clone(),
            id: cri.run_sandbox(config.clone())?,
            config,
            cri,
        })
    }

    /// Runs a container under a limit in bytes: it waits at its gate and then runs `eat`, a shell's
    /// command.
    pub fn run_gated(&mut self, container: &str, limit_bytes: u64, eat: &str) -> Result<Gated> {
        let script = format!("mkfifo /gate; read _ < /gate; {eat}");
        let limit = i64::try_from(limit_bytes).context("a limit that fits")?;
        let resources = LinuxContainerResources {
            cpu_shares: 102,
            memory_limit_in_bytes: limit,
            oom_score_adj: 999,
            ..Default::default()
        };
        let config = container_config(&self.pod, container, &script, resources);
        let (id, pid) = self
            .cri
            .run_container(&self.id, config, self.config.clone())?;
        let gate = self.containerd.rootfs(&id).join("gate");
        wait::until("the container's gate", HANG, || gate.exists().then_some(()))?;
        Ok(Gated {
            cgroup: format!("{}/{id}", self.containerd.pod_cgroup(&self.pod.uid)),
            id,
            pid,
            gate,
        })
    }

    /// A process in the sandbox's own cgroup, which it makes small and eats; and that cgroup.
    pub fn eat_beside_pause(&self) -> Result<(std::process::Child, String)> {
        let path = format!("{}/{}", self.containerd.pod_cgroup(&self.pod.uid), self.id);
        let mut eater = cgroup::command_in(&path, "/bin/sh")?;
        let eater = eater.args(["-c", "exec tail /dev/zero"]);
        cgroup::limit(&path, 16 << 20)?;
        Ok((eater.spawn().context("start an eater")?, path))
    }

    /// The runtime's status of a container, as a kubelet gets it.
    pub fn status(&mut self, container: &Gated) -> Result<ContainerStatus> {
        let answer = self.cri.status(&container.id, false)?;
        answer.status.context("a status")
    }
}

// === impl Cri ===

impl Cri {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let runtime = background::runtime()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .context("the URL of a socket")?
            .timeout(HANG);
        let channel = runtime.block_on(endpoint.connect());
        let client =
            RuntimeServiceClient::new(channel.context("connect to the container runtime")?);
        Ok(Self { runtime, client })
    }

    /// Fails where the runtime does not speak the CRI.
    pub(crate) fn version(&mut self) -> Result<()> {
        let answer = self.client.version(VersionRequest::default());
        let answer = self.runtime.block_on(answer);
        answer.map(drop).context("get the runtime's version")
    }

    /// The id of a pod's sandbox that runs from now on.
    pub(crate) fn run_sandbox(&mut self, config: PodSandboxConfig) -> Result<String> {
        let request = RunPodSandboxRequest {
            config: Some(config),
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.client.run_pod_sandbox(request));
        Ok(answer.context("run a sandbox")?.into_inner().pod_sandbox_id)
    }

    /// Stops and removes a sandbox with all its containers. While its shim ends the runtime fails, and
    /// a kubelet tries again.
    pub(crate) fn remove_sandbox(&mut self, id: &str) -> Result<()> {
        wait::until("the end of a sandbox", HANG, || {
            let stop = StopPodSandboxRequest {
                pod_sandbox_id: id.to_owned(),
            };
            let remove = RemovePodSandboxRequest {
                pod_sandbox_id: id.to_owned(),
            };
            let removed = async {
                self.client.stop_pod_sandbox(stop).await?;
                self.client.remove_pod_sandbox(remove).await
            };
            self.runtime.block_on(removed).ok()
        })
        .map(drop)
    }

    /// Starts a container in a sandbox: its id, and its first process on this host.
    pub(crate) fn run_container(
        &mut self,
        sandbox_id: &str,
        config: ContainerConfig,
        sandbox: PodSandboxConfig,
    ) -> Result<(String, u32)> {
        let create = CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        let id = self.runtime.block_on(async {
            let created = self.client.create_container(create).await;
            let container_id = created
                .context("create a container")?
                .into_inner()
                .container_id;
            let start = StartContainerRequest {
                container_id: container_id.clone(),
            };
            let started = self.client.start_container(start).await;
            started.context("start a container")?;
            anyhow::Ok(container_id)
        })?;
        let status = self.status(&id, true)?;
        let info = status.info.get("info").context("a status with details")?;
        let info: Value = serde_json::from_str(info).context("read a container's details")?;
        let pid = info.get("pid").and_then(Value::as_u64);
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        Ok((id, pid.context("a container's process id")?))
    }

    /// The runtime's status of a container.
    pub(crate) fn status(&mut self, id: &str, verbose: bool) -> Result<ContainerStatusResponse> {
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose,
        };
        let answer = self.runtime.block_on(self.client.container_status(request));
        Ok(answer.context("get a container's status")?.into_inner())
    }
}

/// A sandbox as a kubelet makes it.
pub(crate) fn sandbox_config(
    pod: &Pod,
    log_directory: String,
    cgroup_parent: String,
) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            namespace: pod.namespace.clone(),
            attempt: 0,
        }),
        log_directory,
        labels: labels(pod),
        annotations: texts(&pod.annotations),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent,
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces()),
            }),
        }),
        ..Default::default()
    }
}

/// A container of a pod that runs a shell's script.
pub(crate) fn container_config(
    pod: &Pod,
    name: &str,
    script: &str,
    resources: LinuxContainerResources,
) -> ContainerConfig {
    let mut labels = labels(pod);
    labels.insert("io.kubernetes.container.name".to_owned(), name.to_owned());
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: name.to_owned(),
            attempt: 0,
        }),
        image: Some(ImageSpec {
            image: IMAGE.to_owned(),
            user_specified_image: IMAGE.to_owned(),
        }),
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        labels,
        log_path: format!("{name}_0.log"),
        linux: Some(LinuxContainerConfig {
            resources: Some(resources),
            security_context: Some(LinuxContainerSecurityContext {
                namespace_options: Some(namespaces()),
                ..Default::default()
            }),
        }),
        ..Default::default()
    }
}

/// The host's network: no CNI plugin is needed.
fn namespaces() -> NamespaceOption {
    NamespaceOption {
        network: NamespaceMode::Node.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Pod.into(),
    }
}

/// As the kubelet labels sandboxes and containers.
fn labels(pod: &Pod) -> HashMap<String, String> {
    texts(&[
        ("io.kubernetes.pod.name", &pod.name),
        ("io.kubernetes.pod.namespace", &pod.namespace),
        ("io.kubernetes.pod.uid", &pod.uid),
    ])
}

pub(crate) fn texts(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}
