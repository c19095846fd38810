//! The manifests of pods.

use serde_json::{Value, json};

use crate::cri::IMAGE;
use crate::guest::kill::NODE;

/// Of every pod.
pub(super) const NAMESPACE: &str = "shop";

/// The limit of all pods together.
pub(super) const ALLOCATABLE: u64 = 384 << 20;

/// Which of the pod's lists a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Main,
    Init,
    Sidecar,
    Ephemeral,
}

/// The kubelet's cgroup driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    Cgroupfs,
    /// There is no systemd here: its cgroups are made by their names.
    Systemd,
}

/// A container of a manifest.
#[derive(Debug, Clone, Copy)]
pub(super) struct ContainerPlan<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// `resources.limits.memory`.
    pub(super) limit: Option<u64>,
    /// What its shell runs; see [`hog`].
    pub(super) script: &'a str,
    /// `singleProcessOOMKill` of the kubelet's configuration.
    pub(super) single: bool,
    /// What of swap it may use.
    pub(super) swap: u64,
}

/// A manifest.
#[derive(Debug, Clone, Copy)]
pub(super) struct PodPlan<'a> {
    pub(super) driver: Driver,
    /// `spec.resources.limits.memory`.
    pub(super) limit: Option<u64>,
    /// It has an `emptyDir` of medium `Memory`.
    pub(super) volume: bool,
    pub(super) containers: &'a [ContainerPlan<'a>],
}

/// What a shell runs to become a hog whose standard input and output are number `n` of its container's.
pub(super) fn hog(n: u32, args: &str) -> String {
    format!("exec hog hog {args} --gate 0<>/ctl/{n}.in 1<>/ctl/{n}.out")
}

// === impl ContainerPlan ===

impl<'a> ContainerPlan<'a> {
    pub(super) fn new(name: &'a str, limit: Option<u64>, script: &'a str) -> Self {
        Self {
            name,
            kind: Kind::Main,
            limit,
            script,
            single: false,
            swap: 0,
        }
    }

    pub(super) fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    pub(super) fn script(self, script: &'a str) -> Self {
        Self { script, ..self }
    }

    pub(super) fn single(self) -> Self {
        Self {
            single: true,
            ..self
        }
    }
}

// === impl PodPlan ===

impl<'a> PodPlan<'a> {
    pub(super) fn new(containers: &'a [ContainerPlan<'a>]) -> Self {
        Self {
            driver: Driver::Cgroupfs,
            limit: None,
            volume: false,
            containers,
        }
    }

    /// `memory.max` of its cgroup: its own, else the sum of its containers' where each has one.
    pub(super) fn max(&self) -> Option<u64> {
        let limits = |kinds: &[Kind]| {
            let limits = self.of_kinds(kinds).map(|container| container.limit);
            limits.collect::<Option<Vec<u64>>>()
        };
        let together: u64 = limits(&[Kind::Main, Kind::Sidecar])?.iter().sum();
        let before = limits(&[Kind::Init])?.into_iter().max();
        let before = before.unwrap_or_default();
        Some(together.max(before))
    }

    fn of_kinds(&self, kinds: &[Kind]) -> impl Iterator<Item = &ContainerPlan<'a>> {
        let containers = self.containers.iter();
        containers.filter(|container| kinds.contains(&container.kind))
    }

    pub(super) fn is_best_effort(&self) -> bool {
        let mut limits = self.containers.iter().map(|container| container.limit);
        self.limit.is_none() && limits.all(|limit| limit.is_none())
    }

    /// The path of its cgroup.
    pub(super) fn cgroup(&self, uid: &str) -> String {
        let class = if self.is_best_effort() {
            "besteffort"
        } else {
            "burstable"
        };
        match self.driver {
            Driver::Cgroupfs => format!("/kubepods/{class}/pod{uid}"),
            Driver::Systemd => {
                let uid = uid.replace('-', "_");
                format!("/kubepods.slice/kubepods-{class}.slice/kubepods-{class}-pod{uid}.slice")
            }
        }
    }

    /// As the API server has it.
    pub(super) fn object(&self, name: &str, uid: &str) -> Value {
        let limits = |limit: Option<u64>| match limit {
            Some(bytes) => json!({"limits": {"memory": bytes.to_string()}}),
            None => json!({}),
        };
        let containers = |kinds: &[Kind]| -> Vec<Value> {
            let entry = |container: &ContainerPlan<'_>| {
                let always = (container.kind == Kind::Sidecar).then_some("Always");
                json!({
                    "name": container.name,
                    "image": IMAGE,
                    "resources": limits(container.limit),
                    "restartPolicy": always,
                })
            };
            self.of_kinds(kinds).map(entry).collect()
        };
        let volumes = self
            .volume
            .then(|| json!({"name": "cache", "emptyDir": {"medium": "Memory"}}));
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": uid},
            "spec": {
                "nodeName": NODE,
                "containers": containers(&[Kind::Main]),
                "initContainers": containers(&[Kind::Init, Kind::Sidecar]),
                "ephemeralContainers": containers(&[Kind::Ephemeral]),
                "resources": limits(self.limit),
                "volumes": volumes.into_iter().collect::<Vec<_>>(),
            },
            "status": {"phase": "Running"},
        })
    }
}
