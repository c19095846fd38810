//! A whole Kubernetes with one node: API server, scheduler, controller manager,
//! kubelet, and a containerd with networks for pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;
use xtask::cache::Cache;
use xtask::debian::Debian;
use xtask::process::capture;

use crate::apiserver::{ApiServer, Role};
use crate::cgroup;
use crate::containerd::{Containerd, path_with};
use crate::image::find_busybox;
use crate::namespaces::Namespaces;
use crate::registry::Registry;
use crate::server::Server;

/// The service `kubernetes`, the API server itself, and the node: no proxy for
/// services runs, and none is needed where they have one address.
const ADDRESS: &str = "10.0.0.1";
const PODS: &str = "10.77.0.0/24";

/// A cluster in namespaces of its own, with its own cgroups. Dropping it ends
/// everything in it and leaves no traces.
#[derive(Debug)]
pub struct Cluster {
    // In the order they are to be ended.
    kubelet: Server,
    _scheduler: Server,
    _manager: Server,
    /// Its container runtime.
    pub containerd: Containerd,
    /// Its API server.
    pub api: ApiServer,
    dir: tempfile::TempDir,
    namespaces: Namespaces,
    _cni: EmptyDirectory,
}

/// What a cluster is started from.
#[derive(Debug, Clone)]
pub struct Parts {
    kubernetes: PathBuf,
    containerd: PathBuf,
}

impl Cluster {
    /// The node's name.
    pub const NODE: &str = "node-a";

    /// Puts what it takes into the cache, where it is not there yet. Nothing is
    /// installed.
    pub fn prepare(cache: &Cache, debian: Debian) -> Result<Parts> {
        Ok(Parts {
            kubernetes: ApiServer::prepare(cache)?,
            containerd: Containerd::prepare(cache, debian)?,
        })
    }

    /// Starts one and waits until its node is ready.
    pub fn start(parts: &Parts) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("oom-bonker-node-")
            .tempdir()
            .context("make a directory for a node")?;
        let base = dir.path();
        let busybox = find_busybox(&parts.containerd)?;
        let namespaces = Namespaces::new(&busybox, ADDRESS)?;
        let inside = namespaces.inside();
        let api = ApiServer::start_as(&parts.kubernetes, Role::Cluster(inside, ADDRESS))?;
        let containerd = Containerd::start_inside(&parts.containerd, inside)?;
        furnish(&namespaces, base, containerd.dir())?;
        configure_network(containerd.dir())?;
        cgroup::make_tops(containerd.cgroup_root().trim_start_matches('/'))?;

        let bin = parts.kubernetes.join("bin");
        let kubeconfig = api.kubeconfig_of("admin", "system:masters")?;
        let (ca, token_key) = api.ca_and_token_key();
        let start = |name: &'static str, arguments: &dyn Fn(&mut Command)| {
            let mut command = inside.command(&bin.join(name));
            command.env("PATH", path_with(&parts.containerd)?);
            arguments(&mut command);
            Server::start(name, &mut command, base)
        };
        let controls = |command: &mut Command| {
            command.arg("--kubeconfig").arg(&kubeconfig).args([
                "--leader-elect=false",
                "--port=0",
                "--secure-port=0",
            ]);
        };
        let manager = start("kube-controller-manager", &|command| {
            controls(command);
            command
                .arg("--service-account-private-key-file")
                .arg(&token_key)
                .arg("--root-ca-file")
                .arg(&ca);
        })?;
        let scheduler = start("kube-scheduler", &controls)?;
        let node = api.kubeconfig_of(&format!("system:node:{}", Self::NODE), "system:nodes")?;
        let config = base.join("kubelet.json");
        let settings = kubelet_configuration(&ca, containerd.cgroup_root());
        fs::write(&config, settings.to_string())
            .with_context(|| format!("write {}", config.display()))?;
        let kubelet = start("kubelet", &|command| {
            command
                .arg("--config")
                .arg(&config)
                .arg("--kubeconfig")
                .arg(&node)
                .args(["--hostname-override", Self::NODE, "--node-ip", ADDRESS])
                .arg("--root-dir")
                .arg(base.join("kubelet"))
                .arg("--cert-dir")
                .arg(base.join("kubelet/pki"))
                .args(["--container-runtime", "remote"])
                .arg("--container-runtime-endpoint")
                .arg(format!("unix://{}", containerd.socket().display()));
        })?;
        let mut cluster = Self {
            kubelet,
            _scheduler: scheduler,
            _manager: manager,
            containerd,
            api,
            dir,
            namespaces,
            _cni: EmptyDirectory("/var/lib/cni"),
        };
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// A registry that the node reaches by `localhost`, with the images of these archives.
    pub fn registry(&self, images: &[(&str, &Path)]) -> Result<Registry> {
        Registry::start(self.namespaces.inside(), images)
    }

    /// Where the node's kubelet has its pods' logs: `/var/log/pods` of the node.
    pub fn pod_logs(&self) -> PathBuf {
        self.dir.path().join("log/pods")
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let condition = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        let mut node = self.api.kubectl();
        node.args(["get", "node", Self::NODE, "--output", condition]);
        self.kubelet
            .wait_until_ready(|| (capture(&mut node).ok()? == "True").then_some(Ok(())))
    }
}

/// What a mount was made on; goes when dropped, if nothing else has come into it.
#[derive(Debug)]
struct EmptyDirectory(&'static str);

impl Drop for EmptyDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.0);
    }
}

/// What a node's file systems have, and what the kubelet would change of this
/// host's, put where it changes nothing.
fn furnish(namespaces: &Namespaces, base: &Path, containerd: &Path) -> Result<()> {
    namespaces.script(
        r#"mkdir --parents "$1/log/pods" "$1/log/containers" "$1/sys" "$1/kubelet"
        mount --bind "$1/log" /var/log
        mount --types tmpfs run /run
        mount --types bpf bpf /sys/fs/bpf
        mkdir /run/containerd
        # Where libcni notes what it did; it takes no other directory.
        mkdir --parents /var/lib/cni
        mount --types tmpfs cni /var/lib/cni
        mount --bind "$2" /run/containerd
        # What it wants of the kernel's settings, which it writes otherwise.
        set_apart() {
            echo "$3" > "$1/sys/${2##*/}"
            mount --bind "$1/sys/${2##*/}" "/proc/sys/$2"
        }
        set_apart "$1" vm/overcommit_memory 1
        set_apart "$1" vm/panic_on_oom 0
        set_apart "$1" kernel/panic 10
        set_apart "$1" kernel/panic_on_oops 1
        set_apart "$1" kernel/keys/root_maxkeys 1000000
        set_apart "$1" kernel/keys/root_maxbytes 25000000"#,
        &[base, containerd],
    )
}

/// A point-to-point link for each pod: the node is its gateway.
fn configure_network(containerd: &Path) -> Result<()> {
    let dir = containerd.join("cni/net.d");
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let network = json!({
        "cniVersion": "0.4.0", "name": "pods",
        "plugins": [{"type": "ptp", "ipMasq": false, "ipam": {
            "type": "host-local", "dataDir": containerd.join("cni/ipam"),
            "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}],
        }}],
    });
    // Read whole by containerd, which watches the directory.
    let file = dir.join("10-pods.tmp");
    fs::write(&file, network.to_string()).with_context(|| format!("write {}", file.display()))?;
    fs::rename(&file, dir.join("10-pods.conflist")).context("name the network's configuration")
}

fn kubelet_configuration(ca: &Path, cgroup_root: &str) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false}, "webhook": {"enabled": false},
            "x509": {"clientCAFile": ca},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs", "cgroupRoot": cgroup_root,
        // Its directory is the same for every kubelet of a host.
        "featureGates": {"DevicePlugins": false},
        "failSwapOn": false,
        "makeIPTablesUtilChains": false,
        "enableControllerAttachDetach": false,
        "resolvConf": "",
        // The host's disk may be as full as it is.
        "evictionHard": {
            "memory.available": "10Mi", "nodefs.available": "1%",
            "nodefs.inodesFree": "1%", "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "syncFrequency": "10s",
    })
}
