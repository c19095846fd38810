//! Kills by container: zero while it runs, kept for a while after its end, and bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use service::escape;

use super::collector::encode_family;
use super::{Gauge, Labelled, register};
use crate::incident::{Container, Outcome, Pod, Scope, Victim};

/// Containers with series of their own: four times a kubelet's default of pods.
pub(super) const MAX_CONTAINERS: usize = 512;

/// How long a container with kills keeps its series after its end.
pub(super) const KILLED_TTL: Duration = Duration::from_hours(1);

/// The same without kills; Prometheus itself looks back that far.
pub(super) const UNKILLED_TTL: Duration = Duration::from_mins(5);

/// The longest label value, in bytes: a name in Kubernetes.
const LABEL_LEN: usize = 253;

/// The labels of a container. All empty for the host's own processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    namespace: String,
    pod: String,
    /// The name, else the id.
    container: String,
}

#[derive(Debug)]
pub(crate) struct Kills {
    table: Mutex<BTreeMap<Arc<Who>, Entry>>,
    shown: Gauge,
    not_shown: Gauge,
    /// What the bounds have removed: containers, and their kills.
    retired: [Labelled<&'static str>; 2],
}

/// Why series are removed: their container's end, or to make room.
const ENDED: &str = "ended";
const FULL: &str = "full";

#[derive(Debug)]
struct Entry {
    counts: Counts,
    /// By the container runtime's last list.
    running: bool,
    /// The time of its last kill, or when it was last seen running.
    touched_ns: u64,
}

type Counts = BTreeMap<(Scope, Outcome), u64>;

// === impl Who ===

impl Who {
    pub(crate) fn new(container: &Container, pod: Option<&Pod>) -> Self {
        let bounded = |text: Option<&String>| {
            escape::truncate(text.map_or("", String::as_str), LABEL_LEN).to_owned()
        };
        Self {
            namespace: bounded(pod.and_then(|pod| pod.namespace.as_ref())),
            pod: bounded(pod.and_then(|pod| pod.name.as_ref())),
            container: bounded(container.name.as_ref().or(Some(&container.id))),
        }
    }

    pub(super) fn from_victim(victim: &Victim) -> Self {
        let container = victim.container.clone().unwrap_or_default();
        Self::new(&container, victim.pod.as_ref())
    }

    pub(super) fn labels(&self) -> [(&'static str, &str); 3] {
        [
            ("namespace", &self.namespace),
            ("pod", &self.pod),
            ("container", &self.container),
        ]
    }

    fn is_host(&self) -> bool {
        *self == Self::default()
    }

    /// The series that exist from the start, at zero.
    fn expected(&self) -> Counts {
        let series: &[(Scope, Outcome)] = if self.is_host() {
            &[
                (Scope::Ancestor, Outcome::Unknown),
                (Scope::Node, Outcome::Unknown),
            ]
        } else {
            &[
                (Scope::Container, Outcome::ContainerDied),
                (Scope::Container, Outcome::ChildDied),
                (Scope::Pod, Outcome::ContainerDied),
                (Scope::Pod, Outcome::ChildDied),
                (Scope::Ancestor, Outcome::ContainerDied),
                (Scope::Ancestor, Outcome::ChildDied),
                (Scope::Node, Outcome::ContainerDied),
                (Scope::Node, Outcome::ChildDied),
            ]
        };
        series.iter().map(|series| (*series, 0)).collect()
    }
}

// === impl Entry ===

impl Entry {
    fn new(who: &Who) -> Self {
        Self {
            counts: who.expected(),
            running: false,
            touched_ns: 0,
        }
    }

    fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The lowest is removed first: without kills, then ended, then oldest.
    fn priority(&self) -> (bool, bool, u64) {
        (self.total() > 0, self.running, self.touched_ns)
    }

    fn is_expired(&self, now_ns: u64) -> bool {
        let kept = if self.total() > 0 {
            KILLED_TTL
        } else {
            UNKILLED_TTL
        };
        let ago = Duration::from_nanos(now_ns.saturating_sub(self.touched_ns));
        !self.running && ago >= kept
    }
}

// === impl Kills ===

impl Kills {
    pub(super) fn new(registry: &mut Registry) -> Arc<Self> {
        let mut by_reason = |name, help| {
            let reasons = [ENDED, FULL].map(|reason| (reason, reason));
            Labelled::new(registry, name, help, "reason", reasons)
        };
        let containers = by_reason(
            "retired_containers",
            "Containers whose series are gone: some time after their end, or to make room",
        );
        let kills = by_reason(
            "retired_kills",
            "Kills that were counted in series that are gone",
        );
        let host = Who::default();
        let entry = Entry::new(&host);
        let this = Arc::new(Self {
            table: Mutex::new(BTreeMap::from([(Arc::new(host), entry)])),
            shown: register(
                registry,
                "running_containers",
                "Containers of this node that run and have series of their own",
            ),
            not_shown: register(
                registry,
                "running_containers_without_series",
                "Containers of this node that run and found no room for series of their own",
            ),
            retired: [containers, kills],
        });
        registry.register_collector(Box::new(Arc::clone(&this)));
        this
    }

    pub(super) fn count(&self, who: Who, scope: Scope, outcome: Outcome, now_ns: u64) {
        let mut table = self.table.lock();
        if !table.contains_key(&who) && table.len() > MAX_CONTAINERS {
            self.make_room(&mut table, |_| true);
        }
        let entry = entry(&mut table, who);
        entry.touched_ns = entry.touched_ns.max(now_ns);
        *entry.counts.entry((scope, outcome)).or_default() += 1;
    }

    /// `containers` are all that run on this node at `now_ns`: each starts at zero.
    pub(crate) fn set_running(&self, containers: Vec<Who>, now_ns: u64) {
        let mut table = self.table.lock();
        for entry in table.values_mut().filter(|entry| entry.running) {
            entry.running = false;
            entry.touched_ns = entry.touched_ns.max(now_ns);
        }
        let (mut shown, mut not_shown) = (0, 0);
        for who in containers {
            // Kills are worth more than a zero.
            let is_spare = |entry: &Entry| !entry.running && entry.total() == 0;
            let has_room = table.contains_key(&who)
                || table.len() <= MAX_CONTAINERS
                || self.make_room(&mut table, is_spare);
            if !has_room || who.is_host() {
                not_shown += 1;
                continue;
            }
            let entry = entry(&mut table, who);
            shown += u64::from(!entry.running);
            entry.running = true;
            entry.touched_ns = entry.touched_ns.max(now_ns);
        }
        self.shown.set(shown);
        self.not_shown.set(not_shown);
    }

    pub(super) fn expire(&self, now_ns: u64) {
        self.table.lock().retain(|who, entry| {
            let keep = who.is_host() || !entry.is_expired(now_ns);
            if !keep {
                self.retire(entry, ENDED);
            }
            keep
        });
    }

    /// Removes the entry of lowest priority that `may_go`; false when there is none.
    fn make_room(
        &self,
        table: &mut BTreeMap<Arc<Who>, Entry>,
        may_go: impl Fn(&Entry) -> bool,
    ) -> bool {
        let least = table
            .iter()
            .filter(|(who, entry)| !who.is_host() && may_go(entry))
            .min_by_key(|(_, entry)| entry.priority())
            .map(|(who, _)| Arc::clone(who));
        let Some(entry) = least.and_then(|who| table.remove(&who)) else {
            return false;
        };
        self.retire(&entry, FULL);
        true
    }

    fn retire(&self, entry: &Entry, reason: &'static str) {
        let [containers, kills] = &self.retired;
        containers.add(reason, 1);
        kills.add(reason, entry.total());
    }
}

fn entry(table: &mut BTreeMap<Arc<Who>, Entry>, who: Who) -> &mut Entry {
    let entry = table.entry(Arc::new(who));
    entry.or_insert_with_key(|who| Entry::new(who))
}

impl Collector for Kills {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Copied, so that counting need not wait for the encoder.
        let rows: Vec<(Arc<Who>, Counts)> = self
            .table
            .lock()
            .iter()
            .map(|(who, entry)| (Arc::clone(who), entry.counts.clone()))
            .collect();
        let series = rows.iter().flat_map(|(who, counts)| {
            counts.iter().map(move |((scope, outcome), count)| {
                let [namespace, pod, container] = who.labels();
                let scope = ("scope", scope.into());
                let outcome = ("outcome", outcome.into());
                let labels = [namespace, pod, container, scope, outcome];
                (labels, ConstCounter::new(*count))
            })
        });
        let help = "Processes killed by the OOM killer";
        encode_family(&mut encoder, "kills", help, series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_the_incident_line() {
        let label = |json: serde_json::Value| json.as_str().unwrap().to_owned();
        for scope in [
            Scope::Container,
            Scope::Pod,
            Scope::Nested,
            Scope::Ancestor,
            Scope::Node,
            Scope::Confined,
            Scope::Sysrq,
            Scope::Unknown,
        ] {
            assert_eq!(
                label(serde_json::to_value(scope).unwrap()),
                <&str>::from(scope)
            );
        }
        for outcome in [
            Outcome::ContainerDied,
            Outcome::ChildDied,
            Outcome::AlreadyExiting,
            Outcome::Unknown,
        ] {
            let json = serde_json::to_value(outcome).unwrap();
            assert_eq!(label(json), <&str>::from(outcome));
        }
    }
}
