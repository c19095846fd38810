//! The hungry pods, and what is to be reported of each.

use std::time::Duration;

use jiff::Timestamp;
use lab::{Cluster, wait};
use serde_json::{Value, json};
use xtask::terminal;

use crate::agent::agent_lines;
use crate::support::{MIB, at, text};
use crate::{ACCOUNT, PATIENCE};

/// A pod of `deploy/hungry`, and what is to be reported of it.
pub(crate) struct Case {
    pub(crate) pod: &'static str,
    container: &'static str,
    scope: &'static str,
    limit: u64,
    outcome: &'static str,
    /// Whether the kubelet reports it.
    pub(crate) reported_by_kubelet: bool,
}

/// Without `group.yaml`: this kubelet is older than `memory.oom.group` in pods.
pub(crate) const CASES: [Case; 5] = [
    Case {
        pod: "main-process",
        container: "eater",
        scope: "container",
        limit: 48 * MIB,
        outcome: "container-died",
        reported_by_kubelet: true,
    },
    Case {
        pod: "ten-seconds",
        container: "eater",
        scope: "container",
        limit: 100 * MIB,
        outcome: "container-died",
        reported_by_kubelet: true,
    },
    Case {
        pod: "init-container",
        container: "migration",
        scope: "container",
        limit: 48 * MIB,
        outcome: "container-died",
        reported_by_kubelet: true,
    },
    Case {
        pod: "pod-limit",
        container: "eater",
        scope: "container",
        limit: 96 * MIB,
        outcome: "container-died",
        reported_by_kubelet: true,
    },
    // Last: the agent checks twice before it reports what Kubernetes misses, so nothing is to come of the others then.
    Case {
        pod: "child-process",
        container: "parent",
        scope: "container",
        limit: 48 * MIB,
        outcome: "child-died",
        reported_by_kubelet: false,
    },
];

impl Case {
    /// Waits for all that is to be reported, and checks it.
    pub(crate) fn check_reports(&self, cluster: &Cluster) {
        let event = wait::until(&format!("an Event on {}", self.pod), PATIENCE, || {
            self.events(cluster).pop()
        })
        .unwrap();
        let (logged, incident) = self.incidents(cluster).pop().unwrap();
        let pod = cluster.api.get(&self.path()).unwrap();
        self.incident_is_right(cluster, &incident, &pod);
        self.event_is_right(&event, &incident, &pod);

        let killed: Timestamp = text(&incident, "/time").parse().unwrap();
        let after = |then: Timestamp| Duration::try_from(then.duration_since(killed)).unwrap();
        let written = answered(cluster, |request| {
            *at(request, "/user/username") == json!(ACCOUNT)
                && request.pointer("/objectRef/name") == event.pointer("/metadata/name")
        })
        .unwrap();
        terminal::line(format_args!(
            "{}: {:.1?} from the kill to the line in the pod's log, {:.1?} to the Event",
            self.pod,
            after(logged),
            after(written)
        ));
        if self.reported_by_kubelet {
            let what = format!("the kubelet's story of {}", self.pod);
            let reported =
                wait::until(&what, PATIENCE, || self.reported_by_kubelet(cluster)).unwrap();
            terminal::line(format_args!(
                "{}: {:.1?} to the kubelet's story",
                self.pod,
                after(reported)
            ));
            assert!(written < reported, "the kubelet was first");
        }
    }

    fn incident_is_right(&self, cluster: &Cluster, incident: &Value, pod: &Value) {
        assert_eq!(*at(incident, "/node"), json!(Cluster::NODE));
        assert_eq!(*at(incident, "/scope"), json!(self.scope), "{incident:#}");
        assert_eq!(*at(incident, "/limit_bytes"), json!(self.limit));
        assert_eq!(*at(incident, "/outcome"), json!(self.outcome));
        assert_eq!(
            *at(incident, "/victims/0/container"),
            json!({"id": self.container_id(cluster), "name": self.container, "runtime": "containerd"})
        );
        assert_eq!(
            *at(incident, "/victims/0/pod"),
            json!({"namespace": "hungry", "name": self.pod, "uid": at(pod, "/metadata/uid")})
        );
        assert_eq!(*at(incident, "/victims/0/comm"), json!("tail"));
        assert_eq!(
            *at(incident, "/victims/0/cmdline"),
            json!(["tail", "/dev/zero"])
        );
        let degraded = at(incident, "/degraded").as_array().unwrap();
        // Only that limits are inferred, on kernels where out_of_memory cannot be probed.
        let inferred = |entry: &Value| entry.as_str().unwrap().starts_with("scope: inferred");
        assert!(degraded.iter().all(inferred), "{degraded:#?}");
    }

    fn event_is_right(&self, event: &Value, incident: &Value, pod: &Value) {
        assert_eq!(*at(event, "/type"), json!("Warning"));
        assert_eq!(*at(event, "/metadata/namespace"), json!("hungry"));
        assert_eq!(*at(event, "/regarding/kind"), json!("Pod"));
        assert_eq!(*at(event, "/regarding/name"), json!(self.pod));
        assert_eq!(*at(event, "/regarding/uid"), *at(pod, "/metadata/uid"));
        let of_pod = |list: &str| {
            let containers = pod.pointer(&format!("/spec/{list}"));
            let mut containers = containers.and_then(Value::as_array).into_iter().flatten();
            containers.any(|container| container["name"] == self.container)
        };
        let mut lists = ["containers", "initContainers"].into_iter();
        let list = lists.find(|list| of_pod(list)).unwrap();
        assert_eq!(
            *at(event, "/regarding/fieldPath"),
            json!(format!("spec.{list}{{{}}}", self.container))
        );
        assert_eq!(*at(event, "/related/name"), json!(Cluster::NODE));
        assert!(text(event, "/note").contains("tail"), "{event:#}");
        assert!(text(event, "/note").contains(self.container), "{event:#}");
        assert_eq!(
            text(event, "/eventTime").get(..26),
            text(incident, "/time").get(..26),
            "the kernel's stamp"
        );
    }

    /// The container's id, once the kubelet has reported it: that takes longer than the Event.
    fn container_id(&self, cluster: &Cluster) -> String {
        let what = format!("the id of {} in {}", self.container, self.pod);
        wait::until(&what, PATIENCE, || {
            let pod = cluster.api.get(&self.path()).unwrap();
            ["/status/containerStatuses", "/status/initContainerStatuses"]
                .iter()
                .filter_map(|statuses| pod.pointer(statuses)?.as_array())
                .flatten()
                .find(|status| status["name"] == self.container)?
                .get("containerID")?
                .as_str()?
                .strip_prefix("containerd://")
                .map(str::to_owned)
        })
        .unwrap()
    }

    /// Of the pod, in the API.
    pub(crate) fn path(&self) -> String {
        format!("/api/v1/namespaces/hungry/pods/{}", self.pod)
    }

    /// The agent's Events of kills on this pod.
    pub(crate) fn events(&self, cluster: &Cluster) -> Vec<Value> {
        let mut events = self.all_events(cluster);
        events.retain(|event| event["action"] == "Kill");
        events
    }

    /// The reasons of those on the status of its kills.
    pub(crate) fn verdicts(&self, cluster: &Cluster) -> Vec<String> {
        let events = self.all_events(cluster).into_iter();
        events
            .filter(|event| event["action"] != "Kill")
            .map(|event| text(&event, "/reason").to_owned())
            .collect()
    }

    fn all_events(&self, cluster: &Cluster) -> Vec<Value> {
        let path = "/apis/events.k8s.io/v1/namespaces/hungry/events";
        let list = cluster.api.get(path).unwrap();
        let ours = |event: &&Value| {
            let writer = event["reportingController"].as_str().unwrap_or_default();
            writer.contains("oom-agent") && event["regarding"]["name"] == self.pod
        };
        let events = at(&list, "/items").as_array().unwrap();
        events.iter().filter(ours).cloned().collect()
    }

    /// The agent's lines on this pod, with when the runtime took them.
    pub(crate) fn incidents(&self, cluster: &Cluster) -> Vec<(Timestamp, Value)> {
        agent_lines(cluster)
            .into_iter()
            .filter(|(_, line)| line.pointer("/victims/0/pod/name") == Some(&json!(self.pod)))
            .collect()
    }

    /// When the API server had the kubelet's word that something of this pod was OOM-killed.
    pub(crate) fn reported_by_kubelet(&self, cluster: &Cluster) -> Option<Timestamp> {
        answered(cluster, |request| {
            at(request, "/user/username")
                .as_str()
                .is_some_and(|user| user.starts_with("system:node:"))
                && request.pointer("/objectRef/name") == Some(&json!(self.pod))
                && request
                    .get("requestObject")
                    .is_some_and(|object| object.to_string().contains(r#""OOMKilled""#))
        })
    }
}

/// When the first request that `is_it` was answered.
fn answered(cluster: &Cluster, is_it: impl Fn(&Value) -> bool) -> Option<Timestamp> {
    let requests = cluster.api.audit().unwrap();
    let request = requests.iter().find(|request| is_it(request))?;
    text(request, "/stageTimestamp").parse().ok()
}
