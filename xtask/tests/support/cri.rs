//! A client of the CRI, as much of one as a kubelet is to its runtime.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proto::cri::runtime_service_client::RuntimeServiceClient;
use proto::cri::{
    ContainerConfig, ContainerMetadata, ContainerStatus, ContainerStatusRequest,
    CreateContainerRequest, ImageSpec, LinuxContainerConfig, LinuxContainerResources,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext,
    NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata, RunPodSandboxRequest,
    StartContainerRequest,
};
use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use xtask::lab::{Containerd, wait};

use super::MIB;

const IMAGE: &str = "localhost/busybox:1";

/// Who a pod is.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// A container that waits to be let go.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) id: String,
    /// Of its first process, on this host.
    pub(crate) pid: u32,
    /// Path in the memory controller's hierarchy.
    pub(crate) cgroup: String,
    gate: PathBuf,
}

impl Gated {
    /// Lets it eat memory until it is killed; tells when.
    pub(crate) fn open(&self) -> Instant {
        let opened = Instant::now();
        OpenOptions::new().write(true).open(&self.gate).unwrap();
        opened
    }
}

/// Runs one container of `pod` under a limit of 64 MiB: it waits at its gate and
/// then runs `eat`, a shell's command.
pub(crate) fn run_gated(containerd: &Containerd, pod: &Pod, container: &str, eat: &str) -> Gated {
    let mut sandbox = Sandbox::run(containerd, pod);
    sandbox.run_gated(container, eat)
}

/// A pod that runs, for any number of containers.
pub(crate) struct Sandbox<'a> {
    containerd: &'a Containerd,
    pod: Pod,
    runtime: Runtime,
    client: RuntimeServiceClient<Channel>,
    id: String,
}

impl<'a> Sandbox<'a> {
    pub(crate) fn run(containerd: &'a Containerd, pod: &Pod) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut client = connect(&runtime, &containerd.socket());
        let request = RunPodSandboxRequest {
            config: Some(sandbox_config(containerd, pod)),
            ..Default::default()
        };
        let answer = runtime.block_on(client.run_pod_sandbox(request)).unwrap();
        Self {
            containerd,
            pod: pod.clone(),
            runtime,
            client,
            id: answer.into_inner().pod_sandbox_id,
        }
    }

    /// As [`run_gated`].
    pub(crate) fn run_gated(&mut self, container: &str, eat: &str) -> Gated {
        let script = format!("mkfifo /gate; read _ < /gate; {eat}");
        let (id, pid) = self.runtime.block_on(run(
            &mut self.client,
            self.containerd,
            &self.pod,
            &self.id,
            container,
            &["/bin/sh", "-c", &script],
        ));
        gated(self.containerd, &self.pod, id, pid)
    }

    /// What the runtime says of a container, as a kubelet asks.
    pub(crate) fn status(&mut self, container: &Gated) -> ContainerStatus {
        let request = ContainerStatusRequest {
            container_id: container.id.clone(),
            verbose: false,
        };
        let answer = self
            .runtime
            .block_on(self.client.container_status(request))
            .unwrap();
        answer.into_inner().status.unwrap()
    }
}

fn gated(containerd: &Containerd, pod: &Pod, id: String, pid: u32) -> Gated {
    let gate = containerd.rootfs(&id).join("gate");
    wait::until("the container's gate", Duration::from_secs(10), || {
        gate.exists().then_some(())
    })
    .unwrap();
    Gated {
        cgroup: format!("{}/{id}", containerd.pod_cgroup(&pod.uid)),
        id,
        pid,
        gate,
    }
}

fn connect(runtime: &Runtime, socket: &Path) -> RuntimeServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
        .unwrap()
        .timeout(Duration::from_secs(30));
    RuntimeServiceClient::new(runtime.block_on(endpoint.connect()).unwrap())
}

async fn run(
    client: &mut RuntimeServiceClient<Channel>,
    containerd: &Containerd,
    pod: &Pod,
    sandbox_id: &str,
    container: &str,
    command: &[&str],
) -> (String, u32) {
    let mut labels = labels(pod);
    labels.insert(
        "io.kubernetes.container.name".to_owned(),
        container.to_owned(),
    );
    let id = client
        .create_container(CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(container_config(container, command, labels)),
            sandbox_config: Some(sandbox_config(containerd, pod)),
        })
        .await
        .unwrap()
        .into_inner()
        .container_id;
    client
        .start_container(StartContainerRequest {
            container_id: id.clone(),
        })
        .await
        .unwrap();
    let status = client
        .container_status(ContainerStatusRequest {
            container_id: id.clone(),
            verbose: true,
        })
        .await
        .unwrap()
        .into_inner();
    let info: Value = serde_json::from_str(&status.info["info"]).unwrap();
    let pid = u32::try_from(info["pid"].as_u64().unwrap()).unwrap();
    (id, pid)
}

fn sandbox_config(containerd: &Containerd, pod: &Pod) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            namespace: pod.namespace.clone(),
            attempt: 0,
        }),
        log_directory: containerd
            .dir()
            .join("log")
            .join(&pod.uid)
            .display()
            .to_string(),
        labels: labels(pod),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: containerd.pod_cgroup(&pod.uid),
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces()),
            }),
        }),
        ..Default::default()
    }
}

fn container_config(
    name: &str,
    command: &[&str],
    labels: HashMap<String, String>,
) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: name.to_owned(),
            attempt: 0,
        }),
        image: Some(ImageSpec {
            image: IMAGE.to_owned(),
            user_specified_image: IMAGE.to_owned(),
        }),
        command: command.iter().map(ToString::to_string).collect(),
        labels,
        log_path: format!("{name}_0.log"),
        linux: Some(LinuxContainerConfig {
            resources: Some(LinuxContainerResources {
                cpu_shares: 102,
                memory_limit_in_bytes: i64::try_from(64 * MIB).unwrap(),
                oom_score_adj: 999,
            }),
            security_context: Some(LinuxContainerSecurityContext {
                namespace_options: Some(namespaces()),
            }),
        }),
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
    [
        ("io.kubernetes.pod.name", &pod.name),
        ("io.kubernetes.pod.namespace", &pod.namespace),
        ("io.kubernetes.pod.uid", &pod.uid),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.clone()))
    .collect()
}
