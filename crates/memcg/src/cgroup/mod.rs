//! The pod and the container of a cgroup, by its path.
//!
//! Kubelet and runtimes write the pod's uid and the container's id into the path, each in its own format, so no request
//! to a runtime is needed. The path can be any text: parsing never fails, and accepts as ids only names of their exact
//! shape.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod published;
#[cfg(test)]
mod samples;

/// The container and the pod that a cgroup's path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathIdentity {
    /// The container's id in its runtime's format: 64 lowercase hex digits, a UUID or, on ECS, a task's id and a number;
    /// with LXC and systemd-nspawn the container's name. The id of a pod's sandbox has the same format. `None` for a
    /// pod's own cgroup, and for a process that is in no container.
    pub container_id: Option<String>,
    /// The pod's uid: 36 bytes of lowercase hex and dashes. For a static pod it is the 32 hex digits of its config hash,
    /// which is not the uid that the API server has, or the uid in its manifest.
    pub pod_uid: Option<String>,
    /// `None` where the path does not name the runtime, as with the cgroupfs driver.
    pub runtime: Option<Runtime>,
}

/// A container runtime whose name is in the path.
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
    /// LXC, LXD, Incus.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
}

/// Parses a path from the root of the memory controller's hierarchy (cgroup v1) or of the unified one (v2).
///
/// - Of nested pods the innermost counts (kind, minikube and k3d run their nodes in containers). Its container is the
///   cgroup directly below it: the node's runtime does not know deeper ones (Docker in a pod).
/// - Outside of any pod the innermost container counts.
/// - 64 hex digits below an unknown parent (`docker run --cgroup-parent`) are a container's id where nothing else in the
///   path names one. Only a runtime can confirm it.
/// - The monitors that CRI-O, Podman, LXC and systemd-nspawn start beside a container are not in it.
///
/// ```text
/// /kubepods/burstable/pod6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e/17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a
/// /kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod8712f785_1a3e_41ec_a00b_e2dcc77431cb.slice/docker-73051af271105c07e1f493b34856a77e665e3b0b4fc72f76c807dfbffeb881bd.scope
/// /system.slice/containerd.service/kubepods-burstable-pod4ed02c0b_0df8_4d14_a30e_fd589ee4143a.slice:cri-containerd:d4a9f9195eaf7e4a729f24151101e1de61f1398677e7b82acfb936dff0b4ce55
/// /../../../../system.slice/docker-ba7b10d15d16e10e3de7a2dcd408a3d971169ae303f46cfad4c5453c6326fee2.scope
/// ```
pub fn parse_path(path: &str) -> PathIdentity {
    let path = path.strip_suffix(DELETED).unwrap_or(path);
    let segments: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    // From right to left: the names above, the name, and the names below.
    let places = || {
        (0..segments.len()).rev().filter_map(|at| {
            let (above, from) = segments.split_at_checked(at)?;
            let (name, below) = from.split_first()?;
            Some((above, *name, below))
        })
    };
    if let Some((uid, container)) =
        places().find_map(|(above, name, below)| find_in_pod(above, name, below))
    {
        return PathIdentity::new(Some(uid), container);
    }
    let mut guess: Option<Container<'_>> = None;
    for (above, name, below) in places() {
        if let Some(found) = find_outside_pods(name, below) {
            // A machine can contain containers of any runtime; an id within any other container is not the host's.
            let is_machine = found.runtime.is_some_and(Runtime::names_containers);
            let inner = guess.filter(|guess| is_machine && guess.id != found.id);
            return PathIdentity::new(None, inner.or(Some(found)));
        }
        guess = guess.or_else(|| find_below_unknown(above, name));
    }
    PathIdentity::new(None, guess)
}

/// Whether the runtime of this name identifies containers by names rather than ids.
pub fn is_machine_runtime(runtime: &str) -> bool {
    [Runtime::Lxc, Runtime::Nspawn]
        .map(Runtime::as_str)
        .contains(&runtime)
}

/// The kernel appends this to the path of a removed cgroup with a process still in it.
const DELETED: &str = " (deleted)";

/// The labels of runtimes in front of an id: `label-<id>.scope`, `label-<id>`, `slice:label:<id>`.
const LABELS: [(&str, Runtime); 6] = [
    ("cri-containerd", Runtime::Containerd),
    ("crio", Runtime::CriO),
    ("docker", Runtime::Docker),
    ("libpod", Runtime::Podman),
    ("libpod-payload", Runtime::Podman),
    ("nerdctl", Runtime::Nerdctl),
];

/// Cgroups whose children are containers with their bare ids as names: Docker's, those of CI runners (Azure Pipelines,
/// GitHub Actions), of containerd's namespaces for the kubelet and for nerdctl, of Cloud Foundry and Mesos, and of the
/// part of a Kata sandbox outside of its pod.
const CONTAINER_PARENTS: [(&str, Option<Runtime>); 8] = [
    ("docker", Some(Runtime::Docker)),
    ("azpl_job", Some(Runtime::Docker)),
    ("actions_job", Some(Runtime::Docker)),
    ("k8s.io", Some(Runtime::Containerd)),
    ("default", Some(Runtime::Nerdctl)),
    ("garden", None),
    ("mesos", None),
    ("kata_overhead", None),
];

/// The parent of Podman's pods with the cgroupfs driver: a bare id below it is a pod's.
const PODMAN_PODS: &str = "libpod_parent";

#[derive(Clone, Copy)]
struct Container<'a> {
    id: &'a str,
    runtime: Option<Runtime>,
}

/// The uid of the pod with this cgroup name, and the container directly below it.
fn find_in_pod<'a>(
    above: &[&str],
    name: &'a str,
    below: &[&'a str],
) -> Option<(String, Option<Container<'a>>)> {
    if let Some((slice, label, id)) = split_colons(name) {
        return Some((read_pod_uid(above, slice)?, find_labelled(label, id)));
    }
    let uid = read_pod_uid(above, name)?;
    let child = match below {
        ["kata_overhead", child, ..] | [child, ..] => Some(*child),
        [] => None,
    };
    let container = child.and_then(|child| find_bare(child, None).or_else(|| find_scope(child)));
    Some((uid, container))
}

/// The container with this cgroup name, or the one below it.
fn find_outside_pods<'a>(name: &'a str, below: &[&'a str]) -> Option<Container<'a>> {
    if let Some((_, label, id)) = split_colons(name) {
        return find_labelled(label, id);
    }
    if let Some((_, runtime)) = CONTAINER_PARENTS.iter().find(|(parent, _)| *parent == name) {
        return find_bare(below.first()?, *runtime);
    }
    if name == "ecs" {
        // The container is below the task's id and on many machines below the cluster's name.
        return below.iter().take(3).find_map(|name| {
            let of_task = || is_task_container(name).then_some((*name, None));
            let (id, runtime) = is_hex(name, 64)
                .then_some((*name, Some(Runtime::Docker)))
                .or_else(of_task)?;
            Some(Container { id, runtime })
        });
    }
    find_scope(name).or_else(|| find_machine(name, below))
}

/// With options like `docker run --cgroup-parent`, 64 hex digits can be a container's id anywhere.
fn find_below_unknown<'a>(above: &[&str], name: &'a str) -> Option<Container<'a>> {
    let found = find_bare(name, None).filter(|found| is_hex(found.id, 64));
    found.filter(|_| above.last() != Some(&PODMAN_PODS))
}

/// Containers of LXC (LXD, Incus), systemd-nspawn and libvirt's LXC. Virtual machines are no containers.
fn find_machine<'a>(name: &'a str, below: &[&'a str]) -> Option<Container<'a>> {
    if below.first() == Some(&"supervisor") {
        return None;
    }
    let service = || {
        name.strip_prefix("systemd-nspawn@")?
            .strip_suffix(".service")
    };
    let scope = || name.strip_prefix("machine-")?.strip_suffix(".scope");
    let (id, runtime) = if matches!(name, "lxc" | "lxc.payload") {
        (*below.first()?, Runtime::Lxc)
    } else if let Some(id) = name.strip_prefix("lxc.payload.") {
        (id, Runtime::Lxc)
    } else {
        let id = service().or_else(scope)?;
        match id.split("\\x2d").next()? {
            "qemu" => return None,
            "lxc" => (id, Runtime::Lxc),
            _ => (id, Runtime::Nspawn),
        }
    };
    (!id.is_empty()).then_some(Container {
        id,
        runtime: Some(runtime),
    })
}

/// `label-<id>.scope`, or `label-<id>` with the cgroupfs driver.
fn find_scope(name: &str) -> Option<Container<'_>> {
    let name = trim_suffix(name, ".scope");
    LABELS.iter().find_map(|(label, _)| {
        let id = name.strip_prefix(label)?.strip_prefix('-')?;
        find_labelled(label, id)
    })
}

fn find_labelled<'a>(label: &str, id: &'a str) -> Option<Container<'a>> {
    let (_, runtime) = LABELS.iter().find(|(known, _)| *known == label)?;
    find_bare(id, Some(*runtime))
}

/// The container whose whole name is its id. Kata puts a prefix before a sandbox's id.
fn find_bare(name: &str, runtime: Option<Runtime>) -> Option<Container<'_>> {
    let name = trim_suffix(name, ".scope");
    let id = name.strip_prefix("kata_").unwrap_or(name);
    let is_id = is_hex(id, 64)
        || has_groups(id, &[8, 4, 4, 4, 12], '-')
        || has_groups(id, &[8, 4, 4, 4, 4], '-');
    is_id.then_some(Container { id, runtime })
}

/// `parent.slice:label:<id>`: the kubelet's path is for systemd, and the runtime's driver is cgroupfs.
fn split_colons(name: &str) -> Option<(&str, &str, &str)> {
    let (rest, id) = name.rsplit_once(':')?;
    let (parent, label) = rest.rsplit_once(':')?;
    Some((parent, label, id))
}

/// The uid in `pod<uid>`, or in a slice whose name ends so, where `_` stands for `-`, which nests slices. The API
/// server and the kubelet have uids of fixed formats. One of another format is from a static pod's manifest, and is
/// accepted only directly below the kubelet's cgroups.
fn read_pod_uid(above: &[&str], name: &str) -> Option<String> {
    let name = trim_suffix(name, ".slice");
    let uid = match name.rsplit_once("-pod") {
        Some((_, uid)) => uid,
        None => name.strip_prefix("pod")?,
    };
    let is_usual = is_hex(uid, 32) || has_groups(&uid.replace('_', "-"), &[8, 4, 4, 4, 12], '-');
    if is_usual {
        return Some(uid.replace('_', "-"));
    }
    let uid = if let Some((_, after)) = name.rsplit_once("kubepods") {
        after_qos(after)?.strip_prefix("-pod")?
    } else {
        let ([.., "kubepods"] | [.., "kubepods", "burstable" | "besteffort"]) = above else {
            return None;
        };
        name.strip_prefix("pod")?
    };
    let of_a_uid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (!uid.is_empty() && uid.bytes().all(of_a_uid)).then(|| uid.replace('_', "-"))
}

fn after_qos(name: &str) -> Option<&str> {
    ["-burstable", "-besteffort", ""]
        .into_iter()
        .find_map(|qos| name.strip_prefix(qos))
}

/// A container's name on Fargate: the task's id and a number.
fn is_task_container(name: &str) -> bool {
    name.split_once('-').is_some_and(|(task, number)| {
        is_hex(task, 32)
            && (1..=20).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn has_groups(name: &str, lengths: &[usize], between: char) -> bool {
    let mut lengths = lengths.iter();
    let fit = name
        .split(between)
        .all(|group| lengths.next().is_some_and(|len| is_hex(group, *len)));
    fit && lengths.next().is_none()
}

fn is_hex(name: &str, len: usize) -> bool {
    name.len() == len
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn trim_suffix<'a>(name: &'a str, suffix: &str) -> &'a str {
    name.strip_suffix(suffix).unwrap_or(name)
}

/// systemd escapes bytes with a meaning in units' names, as in `\x2d`.
fn unescape_unit(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let escaped = part
            .split_at_checked(2)
            .and_then(|(digits, rest)| Some((u8::from_str_radix(digits, 16).ok()?, rest)));
        if let Some((byte, rest)) = escaped {
            bytes.push(byte);
            bytes.extend_from_slice(rest.as_bytes());
        } else {
            bytes.extend_from_slice(b"\\x");
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

// === impl PathIdentity ===

impl PathIdentity {
    /// Whether the container's id is its name, so that no request to a runtime is needed.
    pub fn is_machine(&self) -> bool {
        self.runtime.is_some_and(Runtime::names_containers)
    }

    fn new(pod_uid: Option<String>, container: Option<Container<'_>>) -> Self {
        let runtime = container.and_then(|container| container.runtime);
        let is_machine = runtime.is_some_and(Runtime::names_containers);
        Self {
            container_id: container.map(|container| {
                if is_machine {
                    unescape_unit(container.id)
                } else {
                    container.id.to_owned()
                }
            }),
            pod_uid,
            runtime,
        }
    }
}

// === impl Runtime ===

impl Runtime {
    /// The runtime's name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Nerdctl => "nerdctl",
            Self::Lxc => "lxc",
            Self::Nspawn => "systemd-nspawn",
        }
    }

    fn names_containers(self) -> bool {
        matches!(self, Self::Lxc | Self::Nspawn)
    }
}
