//! The machine itself: from the kernel's first root directory to a running containerd.

use std::ffi::c_int;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use rustix::process::{chdir, chroot};
use rustix::system::finit_module;
use xtask::process::capture;

use crate::cri::Cri;
use crate::guest::mounts::mount_all;
use crate::guest::pods::Group;
use crate::server::Server;
use crate::wait::{self, HANG};

/// Where containerd listens on every node.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";

/// Where the agent's program is.
pub(super) const AGENT: &str = "/opt/bin/oom-agent";

const DISK: &str = "/dev/vda";
const ROOT: &str = "/node";
const CONFIGURATION: &str = "/run/containerd.toml";

/// `MODULE_INIT_COMPRESSED_FILE` of include/uapi/linux/module.h.
const COMPRESSED: c_int = 4;

/// Goes from the first root directory to the disk's: runc cannot make any other its container's
/// root while the first one is its own.
pub(in crate::guest) fn enter_disk() -> Result<()> {
    for module in fs::read_dir("/modules").context("list the modules")? {
        let path = module.context("list the modules")?.path();
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        finit_module(file, c"", COMPRESSED).with_context(|| format!("load {}", path.display()))?;
    }
    wait::until("the disk", HANG, || Path::new(DISK).exists().then_some(()))?;
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

/// Starts containerd where systemd would, and waits until it speaks the CRI.
pub(super) fn start_containerd() -> Result<(Server, Cri)> {
    fs::write(CONFIGURATION, configuration()).context("write containerd's configuration")?;
    let mut command = Command::new("/usr/bin/containerd");
    command
        .args(["--config", CONFIGURATION])
        .env("PATH", "/usr/bin:/usr/sbin");
    let mut containerd = Server::start("containerd", &mut command, "/run".as_ref())?;
    Group::create("/system.slice")?;
    let pid = containerd.pid();
    Group::create("/system.slice/containerd.service")?.enter(pid)?;
    // As its unit sets it.
    fs::write(format!("/proc/{pid}/oom_score_adj"), "-999").context("spare containerd")?;
    let mut cri = None;
    containerd.wait_until_ready(|| {
        let mut connection = Cri::connect(SOCKET.as_ref()).ok()?;
        connection.version().ok()?;
        cri = Some(connection);
        Some(Ok(()))
    })?;
    for image in ["pause", "busybox"] {
        let archive = format!("/images/{image}.tar");
        ctr(&["images", "import", &archive])?;
    }
    Ok((containerd, cri.context("a connection to containerd")?))
}

/// containerd's own client, for what the CRI has no calls for.
pub(super) fn ctr(args: &[&str]) -> Result<String> {
    capture(
        Command::new("/usr/bin/ctr")
            .args(["--namespace", "k8s.io"])
            .args(args),
    )
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
