//! What runs as the first process of a virtual machine: the cases of the tier
//! `qemu`, each a kill that the agent tells of.
//!
//! Every case says what the agent should tell, from what it did itself, from
//! /proc before the kill and from the kernel's own report of it; the host compares.

mod before;
mod careful;
mod cases;
mod identity;
mod kmsg;
mod limits;
mod loopback;
mod memory;
pub mod node;
mod pods;
mod process;
mod runtime;
mod sampled;
mod scene;
mod sidecar;
mod storm;
mod unkillable;
mod warned;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};
use serde_json::{Value, json};

use crate::{SAYS, remove_trees};
pub use cases::{INCIDENTS, NAMES};
pub use identity::LARGE_GROUP;
use scene::Scene;
use xtask::say;

/// Flags of the command.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// Be a Kubernetes node, and run the cases of the tier node.
    #[arg(long)]
    pub node: bool,
}

/// Sets the machine up, runs every case, and powers off.
pub fn main(args: Args) -> Result<()> {
    let done = set_up(args).and_then(|()| if args.node { node::run() } else { run() });
    if let Err(error) = done.and_then(|()| tell_taint()) {
        tell(&json!({"error": format!("{error:#}")}));
    }
    reboot(RebootCommand::PowerOff).context("power off")
}

fn run() -> Result<()> {
    let mut scene = Scene::open()?;
    for name in NAMES {
        let begun = Instant::now();
        let told = cases::run(name, &mut scene)
            .unwrap_or_else(|error| json!({"error": format!("{error:#}")}));
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tell(&json!({"case": name, "took_ms": took, "outcome": told}));
        if let Err(error) = ["kubepods", "system"]
            .into_iter()
            .try_for_each(remove_trees)
        {
            tell(&json!({"error": format!("after {name}: {error:#}")}));
        }
    }
    tell(&json!({"end": scene.close()}));
    Ok(())
}

fn tell_taint() -> Result<()> {
    let tainted = fs::read_to_string("/proc/sys/kernel/tainted").context("read the taint")?;
    tell(&json!({"tainted": tainted.trim()}));
    Ok(())
}

fn tell(value: &Value) {
    say::line(format_args!("{SAYS}{value}"));
}

/// What a distribution's own first process would do, as far as it matters here.
fn set_up(args: Args) -> Result<()> {
    mount_all(&[("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")])?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the release")?;
    tell(&json!({"kernel": release.trim()}));
    if args.node {
        node::enter_disk()?;
    }
    mount_all(&[
        ("tmpfs", "/tmp"),
        ("cgroup2", "/sys/fs/cgroup"),
        ("tracefs", "/sys/kernel/tracing"),
    ])?;
    if !Path::new("/dev/fd").exists() {
        symlink("/proc/self/fd", "/dev/fd").context("link /dev/fd")?;
    }
    // Code that was translated for one process serves the next one at the same address only.
    fs::write("/proc/sys/kernel/randomize_va_space", "0").context("fix the addresses")?;
    // Its lines would end up within ours, and a serial line is slow.
    fs::write("/proc/sys/kernel/printk", "1").context("quieten the kernel")?;
    loopback::up()
}

fn mount_all(systems: &[(&str, &str)]) -> Result<()> {
    for (kind, at) in systems {
        // The kernel may have mounted /dev already.
        if let Err(error) = mount(*kind, *at, *kind, MountFlags::empty(), None)
            && error != rustix::io::Errno::BUSY
        {
            return Err(error).with_context(|| format!("mount {at}"));
        }
    }
    Ok(())
}
