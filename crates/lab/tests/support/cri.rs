//! Containers of a real containerd under a limit of 64 MiB: those of `lab`, where a failure is
//! a failed test.

use std::time::Instant;

use lab::{self, Containerd};
use proto::cri::ContainerStatus;

use super::MIB;

pub(crate) use lab::Pod;

const LIMIT: u64 = 64 * MIB;

/// A container that waits at its gate.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) id: String,
    /// Of its first process, on this host.
    pub(crate) pid: u32,
    /// Path in the memory controller's hierarchy.
    pub(crate) cgroup: String,
    container: lab::Gated,
}

impl Gated {
    /// Lets it eat memory until it is killed, from the returned moment on.
    pub(crate) fn open(&self) -> Instant {
        self.container.open().unwrap()
    }
}

impl From<lab::Gated> for Gated {
    fn from(container: lab::Gated) -> Self {
        Self {
            id: container.id.clone(),
            pid: container.pid,
            cgroup: container.cgroup.clone(),
            container,
        }
    }
}

/// Runs one container of `pod`: it waits at its gate and then runs `eat`, a shell's command.
pub(crate) fn run_gated(containerd: &Containerd, pod: &Pod, container: &str, eat: &str) -> Gated {
    Sandbox::run(containerd, pod).run_gated(container, eat)
}

/// A pod that runs, for any number of containers.
pub(crate) struct Sandbox<'a>(lab::Sandbox<'a>);

impl<'a> Sandbox<'a> {
    pub(crate) fn run(containerd: &'a Containerd, pod: &Pod) -> Self {
        Self(lab::Sandbox::run(containerd, pod).unwrap())
    }

    /// See [`lab::Sandbox::eat_beside_pause`].
    pub(crate) fn eat_beside_pause(&self) -> (std::process::Child, String) {
        self.0.eat_beside_pause().unwrap()
    }

    /// As [`run_gated`].
    pub(crate) fn run_gated(&mut self, container: &str, eat: &str) -> Gated {
        self.0.run_gated(container, LIMIT, eat).unwrap().into()
    }

    /// The same under another limit, in bytes.
    pub(crate) fn run_gated_within(&mut self, container: &str, limit: u64, eat: &str) -> Gated {
        self.0.run_gated(container, limit, eat).unwrap().into()
    }

    /// The runtime's status of a container, as a kubelet gets it.
    pub(crate) fn status(&mut self, container: &Gated) -> ContainerStatus {
        self.0.status(&container.container).unwrap()
    }
}
