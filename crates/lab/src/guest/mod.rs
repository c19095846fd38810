//! What runs as the first process of a virtual machine: the cases of the tier
//! `qemu`, each a kill that the agent reports.
//!
//! Every case makes the incident it expects, from what it did itself, from
//! /proc before the kill and from the kernel's own log of it; the host compares.

mod cases;
mod history;
mod incident;
mod kill;
mod kmsg;
mod loopback;
mod memory;
mod mounts;
pub mod node;
mod outcome;
mod pods;
mod process;
mod scene;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::system::{RebootCommand, reboot};
use serde_json::json;

use crate::cgroup::remove_trees;
pub use cases::{INCIDENTS, LARGE_GROUP, names};
use mounts::mount_all;
use scene::Scene;

/// Flags of the command.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// Be a Kubernetes node, and run the cases of the tier node.
    #[arg(long)]
    node: bool,
}

/// Sets the machine up, runs every case, and powers off.
pub fn main(args: Args) -> Result<()> {
    let done = set_up(args).and_then(|()| if args.node { node::run() } else { run() });
    if let Err(error) = done.and_then(|()| write_taint()) {
        outcome::write(&json!({"error": format!("{error:#}")}));
    }
    reboot(RebootCommand::PowerOff).context("power off")
}

fn run() -> Result<()> {
    let mut scene = Scene::open()?;
    for (name, play) in cases::CASES {
        outcome::run_case(name, || play(&mut scene));
        if let Err(error) = ["kubepods", "system"]
            .into_iter()
            .try_for_each(remove_trees)
        {
            outcome::write(&json!({"error": format!("after {name}: {error:#}")}));
        }
    }
    outcome::write(&json!({"end": scene.close()}));
    Ok(())
}

fn write_taint() -> Result<()> {
    let tainted = fs::read_to_string("/proc/sys/kernel/tainted").context("read the taint")?;
    outcome::write(&json!({"tainted": tainted.trim()}));
    Ok(())
}

/// What a distribution's own first process would do, as far as it matters here.
fn set_up(args: Args) -> Result<()> {
    mount_all(&[("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")])?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the release")?;
    outcome::write(&json!({"kernel": release.trim()}));
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
    loopback::bring_up()
}
