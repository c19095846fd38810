//! A node that is a container on this kernel, as kind and minikube make them: cgroups, a view of the
//! file systems and a containerd of its own.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use xtask::process::{Guard, stop};
use xtask::terminal;

use crate::agent::Agent;
use crate::cgroup;
use crate::containerd::Containerd;
use crate::namespaces::{Inside, hold};

const GRACE: Duration = Duration::from_secs(5);

/// Each hierarchy's root becomes the node's own cgroup, as in a container with a cgroup namespace.
const SETUP: &str = "set -e
    for top in /sys/fs/cgroup/*/$0 /sys/fs/cgroup/$0; do
        [ ! -d $top ] || mount --bind $top ${top%/$0}
    done
    echo
    exec cat";

/// Dropping it ends all that runs in it.
#[derive(Debug)]
pub struct NestedNode {
    /// Its runtime.
    pub containerd: Containerd,
    cgroups: Cgroups,
}

/// A process that holds the namespaces open, and waits for its standard input to end.
#[derive(Debug)]
struct Cgroups {
    holder: Guard,
    name: String,
}

// === impl NestedNode ===

impl NestedNode {
    /// Starts one, with a containerd from `parts`.
    pub fn start(parts: &Path) -> Result<Self> {
        let cgroups = Cgroups::make()?;
        let containerd = Containerd::start_inside(parts, cgroups.inside())?;
        Ok(Self {
            containerd,
            cgroups,
        })
    }

    /// The cgroup that it takes for the root, from the kernel's root on.
    pub fn root(&self) -> String {
        format!("/{}", self.cgroups.name)
    }

    /// A command of this host's program in there, below its root; the child's pid is the program's.
    pub fn command(&self, program: &Path) -> Command {
        self.cgroups.inside().command(program)
    }

    /// A process of the node's own, in no pod, that eats more than its cgroup may have; and that cgroup.
    pub fn eat_outside_of_pods(&self) -> Result<(Child, String)> {
        let path = format!("{}/unit.service", self.root());
        cgroup::make_limited(&path, 16 << 20)?;
        let mut eater = cgroup::command_in(&path, "tail")?;
        let eater = eater.arg("/dev/zero").spawn().context("start an eater")?;
        Ok((eater, path))
    }

    /// An agent in there that has its own cgroup namespace, too, as in a pod.
    pub fn start_agent(&self, binary: &Path, args: &[&str]) -> Result<Agent> {
        let mut command = self.command(Path::new("/bin/sh"));
        let script = "for top in /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs; do
                [ ! -e $top ] || { mkdir -p ${top%/*}/agent; \
                    for set in cpus mems; do [ ! -e ${top%/*}/cpuset.$set ] || \
                        cat ${top%/*}/cpuset.$set > ${top%/*}/agent/cpuset.$set; done; \
                    echo $$ > ${top%/*}/agent/cgroup.procs; }
            done
            exec unshare --cgroup -- \"$0\" \"$@\"";
        command.args(["-ec", script]).arg(binary);
        Agent::start_command(command, args)
    }
}

// === impl Cgroups ===

impl Cgroups {
    fn make() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let serial = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("oom-bonker-node-{}-{serial}", std::process::id());
        cgroup::make_tops(&name)?;
        let mut unshare = Inside::joining(&name, Path::new("unshare"));
        unshare
            .args(["--mount", "--cgroup", "--propagation=private", "--"])
            .args(["/bin/sh", "-c", SETUP, &name]);
        let holder = hold(&mut unshare)?;
        Ok(Self { holder, name })
    }

    fn inside(&self) -> Inside {
        Inside::Node(self.holder.id())
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        stop(&mut self.holder, GRACE);
        if let Err(error) = cgroup::remove_trees(&self.name) {
            terminal::error(&error.context("clean up after a node"));
        }
    }
}
