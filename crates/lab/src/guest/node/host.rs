//! The machine itself: from the kernel's first root directory to a running containerd.

use std::ffi::c_int;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use rustix::process::{chdir, chroot};
use rustix::system::finit_module;
use xtask::process::{capture, stop};

use crate::cri::Cri;
use crate::guest::mounts::mount_all;
use crate::guest::pods::Group;
use crate::wait;

/// Where containerd listens on every node.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";

/// Where the agent's program is.
pub(super) const AGENT: &str = "/opt/bin/oom-agent";

const DISK: &str = "/dev/vda";
const ROOT: &str = "/node";
const CONFIGURATION: &str = "/run/containerd.toml";
const LOG: &str = "/run/containerd.log";

/// Emulated, with both of the host's CPUs busy.
const READY: Duration = Duration::from_mins(3);

/// `MODULE_INIT_COMPRESSED_FILE` of include/uapi/linux/module.h.
const COMPRESSED: c_int = 4;

/// containerd; dropping it ends it.
#[derive(Debug)]
pub(super) struct Containerd(Child);

/// Goes from the first root directory to the disk's: runc cannot make any other its container's
/// root while the first one is its own.
pub(in crate::guest) fn enter_disk() -> Result<()> {
    for module in fs::read_dir("/modules").context("list the modules")? {
        let path = module.context("list the modules")?.path();
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        finit_module(file, c"", COMPRESSED).with_context(|| format!("load {}", path.display()))?;
    }
    wait::until("the disk", READY, || Path::new(DISK).exists().then_some(()))?;
    mount(DISK, ROOT, "ext4", MountFlags::empty(), None).context("mount the disk")?;
    // The programs under test stay where they are.
    for (from, to) in [("/bin", "/opt/bin"), ("/init", "/init")] {
        mount_bind(from, format!("{ROOT}{to}")).with_context(|| format!("bind {from}"))?;
    }
    for moved in ["/dev", "/proc", "/sys"] {
        mount_move(moved, format!("{ROOT}{moved}")).with_context(|| format!("move {moved}"))?;
    }
    chdir(ROOT).context("enter the disk")?;
    mount_move(".", "/").context("make the disk the root")?;
    chroot(".").context("enter the disk's root")?;
    chdir("/").context("enter the new root")?;
    mount_all(&[("tmpfs", "/run"), ("bpf", "/sys/fs/bpf")])
}

impl Containerd {
    /// Starts it where systemd would, and waits until it speaks the CRI.
    pub(super) fn start() -> Result<(Self, Cri)> {
        fs::write(CONFIGURATION, configuration()).context("write containerd's configuration")?;
        let log = File::create(LOG).context("make containerd's log")?;
        let child = Command::new("/usr/bin/containerd")
            .args(["--config", CONFIGURATION])
            .env("PATH", "/usr/bin:/usr/sbin")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share containerd's log")?)
            .stderr(log)
            .spawn()
            .context("start containerd")?;
        let mut containerd = Self(child);
        Group::create("/system.slice")?;
        let pid = containerd.0.id();
        Group::create("/system.slice/containerd.service")?.enter(pid)?;
        // As its unit sets it.
        fs::write(format!("/proc/{pid}/oom_score_adj"), "-999").context("spare containerd")?;
        let cri = wait::until("containerd's CRI", READY, || {
            if !matches!(containerd.0.try_wait(), Ok(None)) {
                return Some(None);
            }
            let mut cri = Cri::connect(SOCKET.as_ref()).ok()?;
            cri.version().ok()?;
            Some(Some(cri))
        });
        let Ok(Some(cri)) = cri else {
            bail!("containerd did not start:\n{}", log_end());
        };
        for image in ["pause", "busybox"] {
            let archive = format!("/images/{image}.tar");
            ctr(&["images", "import", &archive])?;
        }
        Ok((containerd, cri))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        stop(&mut self.0, Duration::ZERO);
    }
}

/// containerd's own client, for what the CRI has no calls for.
pub(super) fn ctr(args: &[&str]) -> Result<String> {
    capture(
        Command::new("/usr/bin/ctr")
            .args(["--namespace", "k8s.io"])
            .args(args),
    )
}

/// The end of its log, for an error.
pub(super) fn log_end() -> String {
    let log = fs::read_to_string(LOG).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(20);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// As Debian's containerd 2 is set up for a kubelet with the driver cgroupfs; there is no systemd here.
fn configuration() -> &'static str {
    r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#
}
