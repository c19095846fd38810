//! What the API server knows of a pod and the runtime does not. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use service::escape;

use crate::incident::Container;

/// The longest name kept, in bytes: that of a Kubernetes object.
const NAME_LEN: usize = 253;

/// The kubelet's key for a static pod, on its mirror in the API: the cgroup has it in place of a uid.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// Which of the pod's lists a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContainerKind {
    Main,
    Init,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    Ephemeral,
}

/// A pod, reduced to what an Event needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// By which `kubectl describe` finds Events: the uid or, for a static pod's mirror, the kubelet's key.
    pub(super) uid: Option<String>,
    /// The API server's own uid, where it differs.
    pub(super) api_uid: Option<String>,
    /// The workload, as `Kind/name`.
    pub(super) owner: Option<String>,
    /// By name.
    pub(super) containers: HashMap<String, ContainerKind>,
    /// Container names by the ids that the kubelet has reported.
    pub(super) ids: HashMap<String, String>,
    /// Whether the pod has a memory limit of its own (`spec.resources`).
    pub(super) limited: bool,
    /// The containers that have a memory limit.
    pub(super) limited_containers: HashSet<String>,
}

// === impl ContainerKind ===

impl ContainerKind {
    /// The name in the pod's spec.
    pub(super) fn list_name(self) -> &'static str {
        match self {
            Self::Main => "containers",
            Self::Init | Self::Sidecar => "initContainers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Main => "container",
            Self::Init => "init container",
            Self::Sidecar => "sidecar",
            Self::Ephemeral => "ephemeral container",
        }
    }
}

// === impl Facts ===

impl Facts {
    pub(super) fn from_pod(pod: Pod) -> Self {
        let mut containers = HashMap::new();
        let mut ids = HashMap::new();
        let mut limited = false;
        let mut limited_containers = HashSet::new();
        if let Some(spec) = pod.spec {
            limited = has_memory_limit(spec.resources.as_ref());
            let inits = spec.init_containers.iter().flatten();
            for container in spec.containers.iter().chain(inits) {
                if has_memory_limit(container.resources.as_ref()) {
                    limited_containers.insert(container.name.clone());
                }
            }
            for container in spec.containers {
                containers.insert(container.name, ContainerKind::Main);
            }
            for container in spec.init_containers.into_iter().flatten() {
                let sidecar = container.restart_policy.as_deref() == Some("Always");
                let kind = if sidecar {
                    ContainerKind::Sidecar
                } else {
                    ContainerKind::Init
                };
                containers.insert(container.name, kind);
            }
            for container in spec.ephemeral_containers.into_iter().flatten() {
                containers.insert(container.name, ContainerKind::Ephemeral);
            }
        }
        if let Some(status) = pod.status {
            let lists = [
                status.container_statuses,
                status.init_container_statuses,
                status.ephemeral_container_statuses,
            ];
            for status in lists.into_iter().flatten().flatten() {
                let ended = [status.state.as_ref(), status.last_state.as_ref()];
                let ended = ended.map(|state| ended_id(state?));
                let all = ended.into_iter().chain([running_id(&status)]).flatten();
                let bare: Vec<String> = all.filter_map(bare_id).collect();
                ids.extend(bare.into_iter().map(|id| (id, status.name.clone())));
            }
        }
        let api_uid = pod.metadata.uid.clone();
        let uid = mirror_key(&pod.metadata).or_else(|| api_uid.clone());
        Self {
            api_uid: api_uid.filter(|api| Some(api) != uid.as_ref()),
            uid,
            owner: owner(&pod.metadata),
            containers,
            ids,
            limited,
            limited_containers,
        }
    }

    /// Whether the container has no memory limit of its own but the pod's.
    pub(super) fn has_pods_limit(&self, container: &str) -> bool {
        self.limited && !self.limited_containers.contains(container)
    }

    /// By name or, without one, by id.
    pub(super) fn has_container(&self, container: &Container) -> bool {
        match &container.name {
            Some(name) => self.containers.contains_key(name),
            None => self.ids.contains_key(&container.id),
        }
    }

    /// Whether the node may call this pod `uid`: another pod may have the same name by now.
    pub(super) fn has_uid(&self, uid: &str) -> bool {
        self.uid.as_deref() == Some(uid) || self.api_uid.as_deref() == Some(uid)
    }
}

fn has_memory_limit(resources: Option<&ResourceRequirements>) -> bool {
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    limits.is_some_and(|limits| limits.contains_key("memory"))
}

/// The kubelet's key for a static pod. `kubectl describe` finds Events by it, too.
fn mirror_key(metadata: &ObjectMeta) -> Option<String> {
    metadata.annotations.as_ref()?.get(CONFIG_MIRROR).cloned()
}

/// Whether the node may call this pod `uid`.
pub(super) fn matches_uid(metadata: &ObjectMeta, uid: &str) -> bool {
    let annotations = metadata.annotations.as_ref();
    let annotation = |key| annotations.and_then(|all| Some(all.get(key)?.as_str()));
    [
        metadata.uid.as_deref(),
        annotation(CONFIG_HASH),
        annotation(CONFIG_MIRROR),
    ]
    .contains(&Some(uid))
}

/// Keeps the annotations that identify a pod; the others can be large.
pub(super) fn keep_identifying_annotations(
    mut all: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    all.retain(|key, _| matches!(key.as_str(), CONFIG_HASH | CONFIG_MIRROR));
    all
}

fn running_id(status: &ContainerStatus) -> Option<&str> {
    status.container_id.as_deref()
}

fn ended_id(state: &ContainerState) -> Option<&str> {
    state.terminated.as_ref()?.container_id.as_deref()
}

/// `containerd://<id>` without the runtime.
pub(super) fn bare_id(id: &str) -> Option<String> {
    Some(id.split_once("://")?.1.to_owned())
}

/// The workload of a pod. It is inferred from names, so that no other right is needed: a Deployment's
/// `ReplicaSet` ends in the pod's template hash, a `CronJob`'s Job in its minute.
fn owner(metadata: &ObjectMeta) -> Option<String> {
    let owners = metadata.owner_references.as_ref()?;
    let owner = owners
        .iter()
        .find(|owner| owner.controller == Some(true))
        .or(owners.first())?;
    let (kind, name) = match owner.kind.as_str() {
        "ReplicaSet" => deployment(metadata, &owner.name)
            .map_or(("ReplicaSet", owner.name.as_str()), |name| {
                ("Deployment", name)
            }),
        "Job" => cron_job(metadata, &owner.name)
            .map_or(("Job", owner.name.as_str()), |name| ("CronJob", name)),
        kind => (kind, owner.name.as_str()),
    };
    // The kind and name of a custom resource are untrusted text.
    let text = format!("{kind}/{name}");
    Some(escape::terminal_bounded(&text, NAME_LEN))
}

fn deployment<'a>(metadata: &ObjectMeta, replica_set: &'a str) -> Option<&'a str> {
    let hash = metadata.labels.as_ref()?.get("pod-template-hash")?;
    let name = replica_set.strip_suffix(hash.as_str())?.strip_suffix('-')?;
    Some(name).filter(|name| !name.is_empty())
}

/// The Job controller's `<name>-<minutes since the epoch>`, seconds before 1.21: shortly before the pod's creation.
fn cron_job<'a>(metadata: &ObjectMeta, job: &'a str) -> Option<&'a str> {
    const DAY: i64 = 86_400;
    let (name, number) = job.rsplit_once('-')?;
    let number: i64 = number.parse().ok()?;
    let created = metadata.creation_timestamp.as_ref()?.0.as_second();
    let is_near = |moment: i64| (created.saturating_sub(DAY)..=created + DAY).contains(&moment);
    (is_near(number.saturating_mul(60)) || is_near(number)).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::{Value, json};

    use super::*;

    fn facts(pod: &Value) -> Facts {
        Facts::from_pod(Pod::deserialize(pod).unwrap())
    }

    fn owned(metadata: &Value, kind: &str, name: &str) -> Option<String> {
        let mut pod = json!({"metadata": metadata});
        pod["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "v1", "kind": "Other", "name": "no", "uid": "1"},
            {"apiVersion": "v1", "kind": kind, "name": name, "uid": "2", "controller": true},
        ]);
        facts(&pod).owner
    }

    #[test]
    fn the_owner_is_the_workload() {
        let hash = json!({"labels": {"pod-template-hash": "5d4f8c7b9"}});
        let at = json!({"creationTimestamp": "2026-11-21T09:00:05Z"});
        let minute = "2026-11-21T09:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let minute = minute.as_second() / 60;
        for (metadata, kind, name, expect) in [
            (&hash, "ReplicaSet", "web-5d4f8c7b9", "Deployment/web"),
            (&hash, "ReplicaSet", "by-hand", "ReplicaSet/by-hand"),
            (
                &json!({}),
                "ReplicaSet",
                "web-5d4f8c7b9",
                "ReplicaSet/web-5d4f8c7b9",
            ),
            (&hash, "StatefulSet", "db", "StatefulSet/db"),
            (&hash, "DaemonSet", "log", "DaemonSet/log"),
            (&at, "Job", &format!("nightly-{minute}"), "CronJob/nightly"),
            (
                &at,
                "Job",
                &format!("nightly-{}", minute * 60),
                "CronJob/nightly",
            ),
            (&at, "Job", "import-20261121", "Job/import-20261121"),
            (&at, "Job", "import", "Job/import"),
            (&hash, "Ro\u{202e}llout", "x", "Ro\\u{202e}llout/x"),
        ] {
            assert_eq!(owned(metadata, kind, name).as_deref(), Some(expect));
        }
        assert_eq!(facts(&json!({"metadata": {}})).owner, None);
    }

    #[test]
    fn containers_are_found_by_list_and_by_id() {
        let facts = facts(&json!({
            "metadata": {"uid": "u"},
            "spec": {
                "containers": [{"name": "main"}],
                "initContainers": [{"name": "setup"}, {"name": "mesh", "restartPolicy": "Always"}],
                "ephemeralContainers": [{"name": "debug"}],
            },
            "status": {
                "containerStatuses": [{
                    "name": "main", "containerID": "containerd://now", "image": "", "imageID": "",
                    "ready": true, "restartCount": 1,
                    "lastState": {"terminated": {"exitCode": 137, "containerID": "containerd://before"}},
                }],
                "ephemeralContainerStatuses": [{
                    "name": "debug", "containerID": "cri-o://d", "image": "", "imageID": "",
                    "ready": true, "restartCount": 0,
                }],
            },
        }));
        let list = |name: &str| facts.containers[name].list_name();
        assert_eq!(list("main"), "containers");
        assert_eq!(list("setup"), "initContainers");
        assert_eq!(list("mesh"), "initContainers");
        assert_eq!(list("debug"), "ephemeralContainers");
        assert_eq!(facts.containers["mesh"].as_str(), "sidecar");
        for (id, name) in [("now", "main"), ("before", "main"), ("d", "debug")] {
            assert_eq!(facts.ids[id], name);
        }
    }

    #[test]
    fn a_static_pod_is_identified_by_the_kubelets_key() {
        let key = "9729a196c4723b60ab401eaff722982d";
        let facts = facts(&json!({"metadata": {
            "uid": "a38c12e8-255a-11e9-8cd9-0007cb0b2cc8",
            "annotations": {CONFIG_MIRROR: key, CONFIG_HASH: key},
        }}));
        assert_eq!(facts.uid.as_deref(), Some(key));
        assert!(facts.has_uid(key) && facts.has_uid("a38c12e8-255a-11e9-8cd9-0007cb0b2cc8"));
        assert!(!facts.has_uid("another"));
        let metadata: ObjectMeta =
            serde_json::from_value(json!({"uid": "u", "annotations": {CONFIG_HASH: key}})).unwrap();
        assert!(matches_uid(&metadata, key) && matches_uid(&metadata, "u"));
        assert!(!matches_uid(&metadata, "v"));
    }
}
