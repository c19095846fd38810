//! From a cgroup's path to the pod and the container it belongs to.
//!
//! Kubelet and runtimes write the pod's uid and the container's id into the path, each in its own
//! way; no runtime has to be asked. The path is text that others wrote: nothing here can fail, and
//! what does not have the exact shape of an id is left out.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod published;
#[cfg(test)]
mod samples;

/// What a cgroup's path tells of who lives there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The container's id: 64 lowercase hex digits. A pod's sandbox looks the same.
    /// None for a pod's own cgroup, and for a process that is in no container.
    pub container_id: Option<String>,
    /// The pod's uid: 36 bytes of lowercase hex and dashes or, for a static pod, the 32 hex digits
    /// of its config hash, which is not the uid that the API server knows.
    pub pod_uid: Option<String>,
    /// Who made the container. None where the path does not tell, as with the cgroupfs driver.
    pub runtime: Option<Runtime>,
}

/// A container runtime that leaves its name in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// containerd, as the kubelet's runtime.
    Containerd,
    /// CRI-O.
    CriO,
    /// Docker, by itself or below cri-dockerd.
    Docker,
    /// Podman.
    Podman,
    /// containerd, as driven by nerdctl.
    Nerdctl,
}

/// Reads `path`, from the memory controller's root (cgroup v1) or the unified one (v2).
///
/// - Where pods nest (kind, minikube and k3d run their nodes in containers), the innermost counts,
///   and its container is the cgroup directly below it: containers deeper down (Docker in a pod)
///   are unknown to the node's runtime.
/// - Outside of any pod the innermost container counts.
/// - A bare id is a container's only directly below a pod or in a place that is known to hold
///   nothing else; elsewhere 64 hex digits can be anything.
/// - The monitors that CRI-O and Podman start beside a container (`conmon`) are not in it.
///
/// ```text
/// /kubepods/burstable/pod6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e/17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a
/// /kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod8712f785_1a3e_41ec_a00b_e2dcc77431cb.slice/docker-73051af271105c07e1f493b34856a77e665e3b0b4fc72f76c807dfbffeb881bd.scope
/// /system.slice/containerd.service/kubepods-burstable-pod4ed02c0b_0df8_4d14_a30e_fd589ee4143a.slice:cri-containerd:d4a9f9195eaf7e4a729f24151101e1de61f1398677e7b82acfb936dff0b4ce55
/// /../../../../system.slice/docker-ba7b10d15d16e10e3de7a2dcd408a3d971169ae303f46cfad4c5453c6326fee2.scope
/// ```
pub fn parse(path: &str) -> Identity {
    let path = path.strip_suffix(DELETED).unwrap_or(path);
    let (mut child, mut grandchild) = (None, None);
    let mut outside_pods = None;
    for segment in path.rsplit('/').filter(|segment| !segment.is_empty()) {
        let unit = Unit::parse(segment);
        if let Some(uid) = pod_uid(unit.parent.unwrap_or(segment)) {
            let container = match unit.parent {
                Some(_) => unit.container,
                None => child.and_then(|name| bare(name).or_else(|| Unit::parse(name).container)),
            };
            return Identity::new(Some(uid), container);
        }
        if outside_pods.is_none() {
            outside_pods = unit
                .container
                .or_else(|| bare_below(segment, child, grandchild));
        }
        (child, grandchild) = (Some(segment), child);
    }
    Identity::new(None, outside_pods)
}

/// As [`parse`], for a path that need not be UTF-8.
pub fn parse_bytes(path: &[u8]) -> Identity {
    parse(&String::from_utf8_lossy(path))
}

/// What the kernel appends to the path of a cgroup that is gone while a process is still in it.
const DELETED: &str = " (deleted)";

// === impl Identity ===

impl Identity {
    fn new(pod_uid: Option<String>, container: Option<Container<'_>>) -> Self {
        Self {
            container_id: container.map(|container| container.id.to_owned()),
            pod_uid,
            runtime: container.and_then(|container| container.runtime),
        }
    }
}

// === impl Runtime ===

impl Runtime {
    /// The name people know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Nerdctl => "nerdctl",
        }
    }

    /// The runtime that names its scopes `label-<id>.scope`.
    fn from_label(label: &str) -> Option<Self> {
        match label {
            "cri-containerd" => Some(Self::Containerd),
            "crio" => Some(Self::CriO),
            "docker" => Some(Self::Docker),
            "libpod" | "libpod-payload" => Some(Self::Podman),
            "nerdctl" => Some(Self::Nerdctl),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
struct Container<'a> {
    id: &'a str,
    runtime: Option<Runtime>,
}

/// A segment as a systemd unit: `label-<id>.scope`, `label-<id>`, or `parent.slice:label:<id>`, which
/// is what becomes of a path meant for systemd when the runtime's driver is cgroupfs.
struct Unit<'a> {
    /// The slice named in the same segment.
    parent: Option<&'a str>,
    container: Option<Container<'a>>,
}

// === impl Unit ===

impl<'a> Unit<'a> {
    fn parse(segment: &'a str) -> Self {
        let colons = segment
            .rsplit_once(':')
            .and_then(|(rest, id)| Some((rest.rsplit_once(':')?, id)));
        let (parent, label_and_id) = match colons {
            Some(((parent, label), id)) => (Some(parent), Some((label, id))),
            None => (None, without(segment, ".scope").rsplit_once('-')),
        };
        let container = label_and_id.and_then(|(label, id)| {
            Some(Container {
                id: container_id(id)?,
                runtime: Some(Runtime::from_label(label)?),
            })
        });
        Self { parent, container }
    }
}

/// The container whose whole name is its id, runtime unknown.
fn bare(segment: &str) -> Option<Container<'_>> {
    let id = container_id(without(segment, ".scope"))?;
    Some(Container { id, runtime: None })
}

/// The bare ids outside of pods: Docker's own, those of ECS tasks (which Docker runs), and what Kata
/// keeps of a sandbox outside of its pod.
fn bare_below<'a>(
    segment: &str,
    child: Option<&'a str>,
    grandchild: Option<&'a str>,
) -> Option<Container<'a>> {
    let (name, runtime) = match segment {
        "docker" => (child?, Some(Runtime::Docker)),
        "ecs" => (grandchild?, Some(Runtime::Docker)),
        "kata_overhead" => (child?, None),
        _ => return None,
    };
    Some(Container {
        runtime,
        ..bare(name)?
    })
}

/// A container's id; Kata prefixes that of the sandbox.
fn container_id(name: &str) -> Option<&str> {
    let id = name.strip_prefix("kata_").unwrap_or(name);
    (id.len() == 64 && id.bytes().all(is_hex)).then_some(id)
}

/// The uid in `pod<uid>`, or in a slice whose name ends so; systemd takes `-` for nesting, so that
/// `_` stands for it there.
fn pod_uid(segment: &str) -> Option<String> {
    let name = without(segment, ".slice");
    let uid = match name.rsplit_once("-pod") {
        Some((_, uid)) => uid,
        None => name.strip_prefix("pod")?,
    };
    let shaped = match uid.len() {
        32 => uid.bytes().all(is_hex),
        36 => uid.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => matches!(byte, b'-' | b'_'),
            _ => is_hex(byte),
        }),
        _ => false,
    };
    shaped.then(|| uid.replace('_', "-"))
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn without<'a>(name: &'a str, suffix: &str) -> &'a str {
    name.strip_suffix(suffix).unwrap_or(name)
}
