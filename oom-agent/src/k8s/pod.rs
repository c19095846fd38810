//! A pod as the API server's JSON has it, reduced to what is used: the parser skips the rest, so that no pod is
//! in memory as a whole. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use service::escape;

use crate::incident;
use crate::warn;

/// The longest name kept, in bytes: that of a Kubernetes object.
const NAME_LEN: usize = 253;

/// The kubelet's key for a static pod, on its mirror in the API: the cgroup has it in place of a uid.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) spec: Spec,
    #[serde(default)]
    pub(crate) status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    creation_timestamp: Option<Timestamp>,
    labels: Option<Labels>,
    #[serde(deserialize_with = "read_known_annotations")]
    pub(super) annotations: BTreeMap<String, String>,
    owner_references: Option<Vec<Owner>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Labels {
    pod_template_hash: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Owner {
    kind: String,
    name: String,
    controller: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) node_name: Option<String>,
    resources: Option<Resources>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    ephemeral_containers: Option<Vec<Container>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    restart_policy: Option<String>,
    resources: Option<Resources>,
}

#[derive(Clone, Debug, Deserialize)]
struct Resources {
    limits: Option<Limits>,
}

#[derive(Clone, Debug, Deserialize)]
struct Limits {
    memory: Option<IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    #[serde(rename = "containerStatuses")]
    pub(crate) containers: Option<Vec<ContainerStatus>>,
    #[serde(rename = "initContainerStatuses")]
    pub(crate) init_containers: Option<Vec<ContainerStatus>>,
    #[serde(rename = "ephemeralContainerStatuses")]
    pub(crate) ephemeral_containers: Option<Vec<ContainerStatus>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    /// Unique in the pod.
    pub(crate) name: String,
    #[serde(rename = "containerID")]
    pub(crate) container_id: Option<String>,
    pub(crate) state: Option<State>,
    pub(crate) last_state: Option<State>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct State {
    pub(crate) running: Option<IgnoredAny>,
    pub(crate) terminated: Option<Ended>,
}

/// An instance of a container that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Ended {
    /// With its scheme: `containerd://` and 64 hex digits.
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    /// `OOMKilled`, `Error`, `Completed`, …
    pub(crate) reason: String,
    /// 137 after a SIGKILL.
    pub(crate) exit_code: i32,
    /// To the second.
    pub(crate) started_at: Option<Timestamp>,
    /// To the second.
    pub(crate) finished_at: Option<Timestamp>,
}

/// A list of containers in a pod's spec. As text, its name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub(crate) enum List {
    Containers,
    /// `spec.initContainers`, sidecars among them.
    InitContainers,
    EphemeralContainers,
}

// === impl Pod ===

impl Pod {
    /// By which `kubectl describe` finds Events: the uid or, for a static pod's mirror, the kubelet's key.
    pub(super) fn uid(&self) -> Option<&str> {
        let key = self.metadata.annotations.get(CONFIG_MIRROR);
        let uid = key.unwrap_or(&self.metadata.uid);
        (!uid.is_empty()).then_some(uid)
    }

    /// The API server's own uid, where it differs.
    pub(super) fn api_uid(&self) -> Option<&str> {
        let api = self.metadata.uid.as_str();
        (!api.is_empty() && self.uid() != Some(api)).then_some(api)
    }

    /// Whether the node may call this pod `uid`: another pod may have the same name by now.
    pub(super) fn has_uid(&self, uid: &str) -> bool {
        let annotation = |key| self.metadata.annotations.get(key).map(String::as_str);
        self.metadata.uid == uid
            || [annotation(CONFIG_HASH), annotation(CONFIG_MIRROR)].contains(&Some(uid))
    }

    /// The workload, as `Kind/name`. It is inferred from names, so that no other right is needed: a Deployment's
    /// `ReplicaSet` ends in the pod's template hash, a `CronJob`'s Job in its minute.
    pub(super) fn owner(&self) -> Option<String> {
        let owners = self.metadata.owner_references.as_ref()?;
        let controller = owners.iter().find(|owner| owner.controller == Some(true));
        let owner = controller.or(owners.first())?;
        let made_by = match owner.kind.as_str() {
            "ReplicaSet" => ("Deployment", self.metadata.deployment(&owner.name)),
            "Job" => ("CronJob", self.metadata.cron_job(&owner.name)),
            _ => ("", None),
        };
        let text = match made_by {
            (kind, Some(name)) => format!("{kind}/{name}"),
            (_, None) => format!("{}/{}", owner.kind, owner.name),
        };
        // The kind and name of a custom resource are untrusted text.
        Some(escape::terminal_bounded(&text, NAME_LEN))
    }

    /// Whether the pod has a memory limit of its own (`spec.resources`).
    pub(super) fn is_limited(&self) -> bool {
        has_memory_limit(self.spec.resources.as_ref())
    }

    /// Whether the container has no memory limit of its own but the pod's.
    pub(super) fn has_pods_limit(&self, container: &str) -> bool {
        let found = self.find_container(container);
        let is_limited = |(_, found): (_, &Container)| has_memory_limit(found.resources.as_ref());
        self.is_limited() && !found.is_some_and(is_limited)
    }

    /// By name or, without one, by id.
    pub(super) fn has_container(&self, container: &incident::Container) -> bool {
        match &container.name {
            Some(name) => self.find_container(name).is_some(),
            None => self.container_name(&container.id).is_some(),
        }
    }

    /// The list that has the container.
    pub(super) fn container_list(&self, name: &str) -> Option<List> {
        Some(self.find_container(name)?.0)
    }

    /// The kind of the container, for people.
    pub(super) fn container_kind(&self, name: &str) -> Option<&'static str> {
        let (list, container) = self.find_container(name)?;
        Some(match list {
            List::Containers => "container",
            List::InitContainers if container.restart_policy.as_deref() == Some("Always") => {
                "sidecar"
            }
            List::InitContainers => "init container",
            List::EphemeralContainers => "ephemeral container",
        })
    }

    /// The name of a container by an id that the kubelet has reported.
    pub(super) fn container_name(&self, id: &str) -> Option<&str> {
        let has_id = |status: &ContainerStatus| {
            let ended = status.ended().map(|ended| ended.container_id.as_str());
            let mut ids = ended.chain(status.container_id.as_deref());
            ids.any(|known| bare_id(known) == Some(id))
        };
        let mut statuses = self.container_statuses();
        let (_, status) = statuses.find(|(_, status)| has_id(status))?;
        Some(&status.name)
    }

    /// Of all lists.
    pub(crate) fn container_statuses(&self) -> impl Iterator<Item = (List, &ContainerStatus)> {
        let status = &self.status;
        [
            (List::InitContainers, &status.init_containers),
            (List::Containers, &status.containers),
            (List::EphemeralContainers, &status.ephemeral_containers),
        ]
        .into_iter()
        .flat_map(|(list, statuses)| statuses.iter().flatten().map(move |status| (list, status)))
    }

    fn find_container(&self, name: &str) -> Option<(List, &Container)> {
        let spec = &self.spec;
        [
            (List::Containers, &spec.containers),
            (List::InitContainers, &spec.init_containers),
            (List::EphemeralContainers, &spec.ephemeral_containers),
        ]
        .into_iter()
        .find_map(|(list, containers)| {
            let mut containers = containers.iter().flatten();
            Some((list, containers.find(|container| container.name == name)?))
        })
    }
}

// === impl Metadata ===

impl Metadata {
    fn deployment<'a>(&self, replica_set: &'a str) -> Option<&'a str> {
        let hash = self.labels.as_ref()?.pod_template_hash.as_ref()?;
        let name = replica_set.strip_suffix(hash.as_str())?.strip_suffix('-')?;
        Some(name).filter(|name| !name.is_empty())
    }

    /// The Job controller's `<name>-<minutes since the epoch>`, seconds before 1.21: shortly before the pod's
    /// creation.
    fn cron_job<'a>(&self, job: &'a str) -> Option<&'a str> {
        const DAY: i64 = 86_400;
        let (name, number) = job.rsplit_once('-')?;
        let number: i64 = number.parse().ok()?;
        let created = self.creation_timestamp?.as_second();
        let is_near = |moment: i64| (created.saturating_sub(DAY)..=created + DAY).contains(&moment);
        (is_near(number.saturating_mul(60)) || is_near(number)).then_some(name)
    }
}

// === impl ContainerStatus ===

impl ContainerStatus {
    /// The instances that have ended: the one before, and the current one.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &Ended> {
        let states = [&self.last_state, &self.state].into_iter().flatten();
        states.filter_map(|state| state.terminated.as_ref())
    }

    /// The id of the instance that runs, with its scheme.
    pub(super) fn running_id(&self) -> Option<&str> {
        self.state.as_ref()?.running.as_ref()?;
        self.container_id.as_deref()
    }
}

/// `containerd://<id>` without the runtime.
pub(super) fn bare_id(id: &str) -> Option<&str> {
    Some(id.split_once("://")?.1)
}

fn has_memory_limit(resources: Option<&Resources>) -> bool {
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    limits.is_some_and(|limits| limits.memory.is_some())
}

/// Those that identify a static pod, and the agent's own; the others can be large.
fn read_known_annotations<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let mut all = Option::<BTreeMap<String, String>>::deserialize(from)?.unwrap_or_default();
    let is_known =
        |key: &str| matches!(key, CONFIG_HASH | CONFIG_MIRROR) || key.starts_with(warn::PREFIX);
    all.retain(|key, _| is_known(key));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(pod: &Value) -> Pod {
        Pod::deserialize(pod).unwrap()
    }

    fn owned(metadata: &Value, kind: &str, name: &str) -> Option<String> {
        let mut pod = json!({"metadata": metadata});
        pod["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "v1", "kind": "Other", "name": "no", "uid": "1"},
            {"apiVersion": "v1", "kind": kind, "name": name, "uid": "2", "controller": true},
        ]);
        read(&pod).owner()
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
        assert_eq!(read(&json!({"metadata": {}})).owner(), None);
    }

    #[test]
    fn containers_are_found_by_list_and_by_id() {
        let pod = read(&json!({
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
        let list = |name: &str| <&str>::from(pod.container_list(name).unwrap());
        assert_eq!(list("main"), "containers");
        assert_eq!(list("setup"), "initContainers");
        assert_eq!(list("mesh"), "initContainers");
        assert_eq!(list("debug"), "ephemeralContainers");
        assert_eq!(pod.container_kind("mesh"), Some("sidecar"));
        for (id, name) in [("now", "main"), ("before", "main"), ("d", "debug")] {
            assert_eq!(pod.container_name(id), Some(name));
        }
    }

    #[test]
    fn a_static_pod_is_identified_by_the_kubelets_key() {
        let key = "9729a196c4723b60ab401eaff722982d";
        let pod = read(&json!({"metadata": {
            "uid": "a38c12e8-255a-11e9-8cd9-0007cb0b2cc8",
            "annotations": {CONFIG_MIRROR: key, CONFIG_HASH: key},
        }}));
        assert_eq!(pod.uid(), Some(key));
        assert!(pod.has_uid(key) && pod.has_uid("a38c12e8-255a-11e9-8cd9-0007cb0b2cc8"));
        assert!(!pod.has_uid("another"));
        let unmirrored =
            read(&json!({"metadata": {"uid": "u", "annotations": {CONFIG_HASH: key}}}));
        assert!(unmirrored.has_uid(key) && unmirrored.has_uid("u"));
        assert!(!unmirrored.has_uid("v"));
    }
}
