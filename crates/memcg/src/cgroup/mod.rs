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
    /// The container's id, as its runtime writes it: 64 lowercase hex digits, a UUID or, on ECS, a
    /// task's id and a number; of LXC and systemd-nspawn the container's name. A pod's sandbox looks
    /// the same. None for a pod's own cgroup, and for a process that is in no container.
    pub container_id: Option<String>,
    /// The pod's uid: 36 bytes of lowercase hex and dashes or, for a static pod, the 32 hex digits of
    /// its config hash, which is not the uid that the API server knows, or what its manifest says.
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
    /// LXC, LXD, Incus.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
}

/// Reads `path`, from the memory controller's root (cgroup v1) or the unified one (v2).
///
/// - Where pods nest (kind, minikube and k3d run their nodes in containers), the innermost counts,
///   and its container is the cgroup directly below it: containers deeper down (Docker in a pod)
///   are unknown to the node's runtime.
/// - Outside of any pod the innermost container counts.
/// - 64 hex digits below a parent that is not known (`docker run --cgroup-parent`) are taken for a
///   container's id where nothing else in the path names one: a runtime has to be asked.
/// - The monitors that CRI-O, Podman, LXC and systemd-nspawn start beside a container are not in it.
///
/// ```text
/// /kubepods/burstable/pod6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e/17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a
/// /kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod8712f785_1a3e_41ec_a00b_e2dcc77431cb.slice/docker-73051af271105c07e1f493b34856a77e665e3b0b4fc72f76c807dfbffeb881bd.scope
/// /system.slice/containerd.service/kubepods-burstable-pod4ed02c0b_0df8_4d14_a30e_fd589ee4143a.slice:cri-containerd:d4a9f9195eaf7e4a729f24151101e1de61f1398677e7b82acfb936dff0b4ce55
/// /../../../../system.slice/docker-ba7b10d15d16e10e3de7a2dcd408a3d971169ae303f46cfad4c5453c6326fee2.scope
/// ```
pub fn parse(path: &str) -> Identity {
    let path = path.strip_suffix(DELETED).unwrap_or(path);
    let segments: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    // From right to left: the names above, the name, the names below.
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
        return Identity::new(Some(uid), container);
    }
    let mut guess: Option<Container<'_>> = None;
    for (above, name, below) in places() {
        if let Some(found) = find_outside_pods(name, below) {
            // In a machine there may be containers of any name; in a container there is none of the host's.
            let is_machine = found.runtime.is_some_and(Runtime::names_containers);
            let inner = guess.filter(|guess| is_machine && guess.id != found.id);
            return Identity::new(None, inner.or(Some(found)));
        }
        guess = guess.or_else(|| find_below_unknown(above, name));
    }
    Identity::new(None, guess)
}

/// As [`parse`], for a path that need not be UTF-8.
pub fn parse_bytes(path: &[u8]) -> Identity {
    parse(&String::from_utf8_lossy(path))
}

/// Whether the runtime of that name is one whose containers go by their names.
pub fn is_of_machines(runtime: &str) -> bool {
    [Runtime::Lxc, Runtime::Nspawn]
        .map(Runtime::as_str)
        .contains(&runtime)
}

/// What the kernel appends to the path of a cgroup that is gone while a process is still in it.
const DELETED: &str = " (deleted)";

/// What runtimes put in front of an id: `label-<id>.scope`, `label-<id>`, `slice:label:<id>`.
const LABELS: [(&str, Runtime); 6] = [
    ("cri-containerd", Runtime::Containerd),
    ("crio", Runtime::CriO),
    ("docker", Runtime::Docker),
    ("libpod", Runtime::Podman),
    ("libpod-payload", Runtime::Podman),
    ("nerdctl", Runtime::Nerdctl),
];

/// Cgroups that have containers below them by their bare ids: Docker's, those of CI runners (Azure
/// Pipelines, GitHub Actions), of containerd's namespaces for the kubelet and for nerdctl, of Cloud
/// Foundry and Mesos, and what Kata keeps of a sandbox outside of its pod.
const PLACES: [(&str, Option<Runtime>); 8] = [
    ("docker", Some(Runtime::Docker)),
    ("azpl_job", Some(Runtime::Docker)),
    ("actions_job", Some(Runtime::Docker)),
    ("k8s.io", Some(Runtime::Containerd)),
    ("default", Some(Runtime::Nerdctl)),
    ("garden", None),
    ("mesos", None),
    ("kata_overhead", None),
];

/// The parent of Podman's pods, where the driver is cgroupfs: a bare id below it is a pod's.
const PODMAN_PODS: &str = "libpod_parent";

#[derive(Clone, Copy)]
struct Container<'a> {
    id: &'a str,
    runtime: Option<Runtime>,
}

/// The uid of the pod that is called `name`, and the container directly below it.
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

/// The container that is called `name`, or that is known by being below it.
fn find_outside_pods<'a>(name: &'a str, below: &[&'a str]) -> Option<Container<'a>> {
    if let Some((_, label, id)) = split_colons(name) {
        return find_labelled(label, id);
    }
    if let Some((_, runtime)) = PLACES.iter().find(|(place, _)| *place == name) {
        return find_bare(below.first()?, *runtime);
    }
    if name == "ecs" {
        // Below the task's id, and on many machines the cluster's name.
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

/// `docker run --cgroup-parent` and the like: 64 hex digits may be a container's anywhere.
fn find_below_unknown<'a>(above: &[&str], name: &'a str) -> Option<Container<'a>> {
    let found = find_bare(name, None).filter(|found| is_hex(found.id, 64));
    found.filter(|_| above.last() != Some(&PODMAN_PODS))
}

/// LXC (and LXD, Incus), systemd-nspawn, and libvirt's LXC; virtual machines are no containers.
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

/// `label-<id>.scope`, and without the ending where the driver is cgroupfs.
fn find_scope(name: &str) -> Option<Container<'_>> {
    let name = without(name, ".scope");
    LABELS.iter().find_map(|(label, _)| {
        let id = name.strip_prefix(label)?.strip_prefix('-')?;
        find_labelled(label, id)
    })
}

fn find_labelled<'a>(label: &str, id: &'a str) -> Option<Container<'a>> {
    let (_, runtime) = LABELS.iter().find(|(known, _)| *known == label)?;
    find_bare(id, Some(*runtime))
}

/// The container whose whole name is its id; Kata prefixes that of the sandbox.
fn find_bare(name: &str, runtime: Option<Runtime>) -> Option<Container<'_>> {
    let name = without(name, ".scope");
    let id = name.strip_prefix("kata_").unwrap_or(name);
    let is_id = is_hex(id, 64)
        || has_groups(id, &[8, 4, 4, 4, 12], '-')
        || has_groups(id, &[8, 4, 4, 4, 4], '-');
    is_id.then_some(Container { id, runtime })
}

/// `parent.slice:label:<id>` is what becomes of a path meant for systemd when the runtime's driver is
/// cgroupfs.
fn split_colons(name: &str) -> Option<(&str, &str, &str)> {
    let (rest, id) = name.rsplit_once(':')?;
    let (parent, label) = rest.rsplit_once(':')?;
    Some((parent, label, id))
}

/// The uid in `pod<uid>`, or in a slice whose name ends so; systemd takes `-` for nesting, so that
/// `_` stands for it there. A uid of any other form than the API server's and the kubelet's own is
/// one that a static pod's manifest gives: it is looked for only directly below the kubelet's groups.
fn read_pod_uid(above: &[&str], name: &str) -> Option<String> {
    let name = without(name, ".slice");
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

/// On Fargate: the task's id, and a number.
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

fn without<'a>(name: &'a str, suffix: &str) -> &'a str {
    name.strip_suffix(suffix).unwrap_or(name)
}

/// systemd writes bytes that have a meaning in a unit's name as `\x2d`.
fn unescape(name: &str) -> String {
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

// === impl Identity ===

impl Identity {
    /// Whether the container goes by its name, which no runtime has to be asked for.
    pub fn is_machine(&self) -> bool {
        self.runtime.is_some_and(Runtime::names_containers)
    }

    fn new(pod_uid: Option<String>, container: Option<Container<'_>>) -> Self {
        let runtime = container.and_then(|container| container.runtime);
        let is_machine = runtime.is_some_and(Runtime::names_containers);
        Self {
            container_id: container.map(|container| {
                if is_machine {
                    unescape(container.id)
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
    /// The name people know it by.
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
