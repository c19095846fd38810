//! A containerd of this process's own: its state, socket, mounts and cgroups
//! are apart from those of any other on the host.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use memcg::Processes;
use rustix::process::{Pid, Signal, kill_process};
use xtask::cache::Cache;
use xtask::debian::Debian;
use xtask::process::{capture, run};
use xtask::terminal;

use crate::namespaces::Inside;
use crate::server::Server;
use crate::wait;
use crate::{cgroup, image};

const NAME: &str = "containerd";

/// Where a shim has its container, below this instance's directory.
const TASKS: &str = "state/io.containerd.runtime.v2.task/k8s.io";

/// A running containerd with the images `localhost/busybox:1` and
/// `localhost/pause:1`. Dropping it kills its containers and removes all traces.
#[derive(Debug)]
pub struct Containerd {
    dir: tempfile::TempDir,
    parts: PathBuf,
    server: Server,
    command: Command,
    cgroup_root: String,
    /// Where its mounts are seen from here.
    view: PathBuf,
}

impl Containerd {
    /// Puts what it takes into the cache, where it is not there yet. Nothing is
    /// installed.
    pub fn prepare(cache: &Cache, debian: Debian) -> Result<PathBuf> {
        cache.entry("containerd-debian-2", |dir| {
            terminal::step(
                "unpacking containerd, runc, CNI plugins and busybox from Debian's packages (once)",
            );
            debian.unpack(
                &[
                    "containerd",
                    "runc",
                    "containernetworking-plugins",
                    "busybox-static",
                ],
                dir,
            )?;
            image::make(&image::find_busybox(dir)?, dir)
        })
    }

    /// Starts one from `parts`, see [`Containerd::prepare`], and waits until its
    /// CRI answers.
    pub fn start(parts: &Path) -> Result<Self> {
        Self::start_inside(parts, Inside::Host)
    }

    pub(super) fn start_inside(parts: &Path, inside: Inside) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("oom-bonker-cri-")
            .tempdir()
            .context("make a directory for containerd")?;
        let base = dir.path();
        let config = base.join("config.toml");
        fs::write(&config, configuration(base, parts))
            .with_context(|| format!("write {}", config.display()))?;
        let mut command = inside.command(&parts.join("usr/bin/containerd"));
        command
            .arg("--config")
            .arg(&config)
            .env("PATH", path_with(parts)?);
        let server = Server::start(NAME, &mut command, base)?;
        let mut containerd = Self {
            cgroup_root: format!(
                "/{}",
                base.file_name().unwrap_or_default().to_string_lossy()
            ),
            view: inside.root(),
            parts: parts.to_path_buf(),
            dir,
            server,
            command,
        };
        containerd.wait_until_ready()?;
        for name in ["pause", "busybox"] {
            containerd.import(&parts.join(format!("{name}.tar")))?;
        }
        Ok(containerd)
    }

    /// Ends it as a crash does, by SIGKILL; its containers live on.
    pub fn crash(&mut self) {
        self.server.crash();
    }

    /// Starts it again after [`Containerd::crash`], and waits until its CRI answers.
    pub fn restart(&mut self) -> Result<()> {
        self.server.end();
        self.server = Server::start(NAME, &mut self.command, self.dir.path())?;
        self.wait_until_ready()
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Makes the images of an archive known.
    pub fn import(&self, archive: &Path) -> Result<()> {
        capture(self.ctr().args(["images", "import"]).arg(archive)).map(drop)
    }

    /// The process id of a container's first process, on this host.
    pub fn pid_of(&self, container_id: &str) -> Result<u32> {
        let tasks = capture(self.ctr().args(["tasks", "ls"]))?;
        tasks
            .lines()
            .find_map(|line| line.strip_prefix(container_id)?.split_whitespace().next())
            .with_context(|| format!("no task {container_id} in\n{tasks}"))?
            .parse()
            .context("read a process id")
    }

    /// The CRI socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("containerd.sock")
    }

    /// A directory of this instance's, removed with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The cgroup above those of its containers, from each hierarchy's root.
    pub(super) fn cgroup_root(&self) -> &str {
        &self.cgroup_root
    }

    /// The cgroup for a pod's sandbox, of the form the kubelet's cgroupfs driver
    /// gives a burstable pod.
    pub(crate) fn pod_cgroup(&self, pod_uid: &str) -> String {
        format!("{}/kubepods/burstable/pod{pod_uid}", self.cgroup_root)
    }

    /// Limits the memory of a pod whose sandbox is there, as a kubelet does where
    /// all of its containers have limits.
    pub fn limit_pod(&self, pod_uid: &str, bytes: u64) -> Result<()> {
        cgroup::limit(&self.pod_cgroup(pod_uid), bytes)
    }

    /// A running container's root file system on this host.
    pub fn rootfs(&self, container_id: &str) -> PathBuf {
        let dir = self.dir.path();
        self.view
            .join(dir.strip_prefix("/").unwrap_or(dir))
            .join(TASKS)
            .join(container_id)
            .join("rootfs")
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new(self.parts.join("usr/bin/ctr"));
        command
            .args(["--timeout", "10s", "--namespace", "k8s.io", "--address"])
            .arg(self.socket());
        command
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let mut plugins = self.ctr();
        plugins.args(["plugins", "ls"]);
        self.server.wait_until_ready(|| {
            let plugins = capture(&mut plugins).ok()?;
            let mut lines = plugins.lines();
            let cri = lines.find(|line| line.split_whitespace().nth(1) == Some("cri"))?;
            let is_ok = cri.trim_end().ends_with("ok");
            Some(
                is_ok
                    .then_some(())
                    .context("containerd's CRI did not start"),
            )
        })
    }

    /// Processes of this containerd's shims, which outlive it otherwise.
    fn shims(&self) -> Vec<Pid> {
        let socket = self.socket();
        let processes = Processes::new("/proc");
        let is_ours = |pid: &u32| {
            let process = processes.open(*pid).ok()?;
            let (comm, cmdline) = (process.read_text("comm"), process.read_text("cmdline"));
            let mut arguments = cmdline.as_ref().ok()?.split('\0');
            let is_shim = comm.ok()?.starts_with("containerd-shim");
            Some(is_shim && arguments.any(|argument| Path::new(argument) == socket))
        };
        let pids = processes.pids().unwrap_or_default().into_iter();
        pids.filter(|pid| is_ours(pid).unwrap_or_default())
            .filter_map(|pid| Pid::from_raw(pid.try_into().ok()?))
            .collect()
    }

    /// Sockets of the shims, which lie outside of this instance's directory.
    fn shim_sockets(&self) -> Vec<PathBuf> {
        let tasks = self.dir.path().join(TASKS);
        fs::read_dir(tasks)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("address")).ok())
            .filter_map(|address| Some(PathBuf::from(address.strip_prefix("unix://")?)))
            .collect()
    }

    fn clean_up(&mut self) -> Result<()> {
        let sockets = self.shim_sockets();
        let tasks = capture(self.ctr().args(["tasks", "ls", "--quiet"])).unwrap_or_default();
        for task in tasks.lines() {
            // SIGKILL first; a pod's shim leaves with its last task.
            let _ = capture(self.ctr().args(["tasks", "delete", "--force", task]));
        }
        if wait::until("end of the shims", Duration::from_secs(3), || {
            self.shims().is_empty().then_some(())
        })
        .is_err()
        {
            for pid in self.shims() {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        self.server.end();
        for mount in mounts_below(self.dir.path())? {
            run(Command::new("umount").arg("--lazy").arg(mount))?;
        }
        for socket in sockets {
            let _ = fs::remove_file(socket);
        }
        cgroup::remove_trees(self.cgroup_root.trim_start_matches('/'))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Err(error) = self.clean_up() {
            terminal::error(&error.context("clean up after containerd"));
        }
    }
}

fn configuration(base: &Path, parts: &Path) -> String {
    let (base, parts) = (base.display(), parts.display());
    format!(
        r#"version = 2
root = "{base}/root"
state = "{base}/state"
[grpc]
  address = "{base}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{base}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # A host without CAP_SYS_RESOURCE cannot give a sandbox -998.
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_tcp_service = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{parts}/usr/lib/cni"
    conf_dir = "{base}/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{parts}/usr/sbin/runc"
      Root = "{base}/runc"
      SystemdCgroup = false
"#
    )
}

/// Mount points below `dir`, innermost first.
fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let mut below: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .filter(|mount| mount.starts_with(dir))
        .collect();
    below.sort();
    below.reverse();
    Ok(below)
}

/// `PATH` with the programs of `parts` first: containerd and the kubelet look
/// for others there.
pub(super) fn path_with(parts: &Path) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = ["usr/bin", "usr/sbin"].map(|dir| parts.join(dir));
    std::env::join_paths(first.into_iter().chain(std::env::split_paths(&path)))
        .context("make a PATH")
}
