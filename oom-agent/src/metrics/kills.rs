//! Kills by container: zero while it runs, kept for a while after its end, and bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use service::escape;

use super::lock;
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

pub(super) struct Kills {
    table: Mutex<BTreeMap<Arc<Who>, Entry>>,
    bounds: Bounds,
}

/// Counts what the bounds have removed.
struct Bounds {
    shown: Gauge,
    not_shown: Gauge,
    ended: Retired,
    full: Retired,
}

struct Retired {
    containers: Counter,
    kills: Counter,
}

#[derive(Clone, Default)]
struct Entry {
    counts: Counts,
    /// By the container runtime's last list.
    running: bool,
    /// The time of its last kill, or when it was last seen running.
    touched_ns: u64,
}

type Counts = [[u64; OUTCOMES.len()]; SCOPES.len()];

/// The names in the incident's JSON.
const SCOPES: [(Scope, &str); 8] = [
    (Scope::Container, "container"),
    (Scope::Pod, "pod"),
    (Scope::Nested, "nested"),
    (Scope::Ancestor, "ancestor"),
    (Scope::Node, "node"),
    (Scope::Confined, "confined"),
    (Scope::Sysrq, "sysrq"),
    (Scope::Unknown, "unknown"),
];
const OUTCOMES: [(Outcome, &str); 4] = [
    (Outcome::ContainerDied, "container-died"),
    (Outcome::ChildDied, "child-died"),
    (Outcome::AlreadyExiting, "already-exiting"),
    (Outcome::Unknown, "unknown"),
];

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

    /// Whether the series exists from the start, at zero.
    fn expects(&self, scope: Scope, outcome: Outcome) -> bool {
        if self.is_host() {
            return matches!(scope, Scope::Ancestor | Scope::Node) && outcome == Outcome::Unknown;
        }
        let expected = [Scope::Container, Scope::Pod, Scope::Ancestor, Scope::Node];
        expected.contains(&scope) && matches!(outcome, Outcome::ContainerDied | Outcome::ChildDied)
    }
}

// === impl Entry ===

impl Entry {
    fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
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
        let containers: Family<[(&str, &str); 1], Counter> = Family::default();
        let kills: Family<[(&str, &str); 1], Counter> = Family::default();
        let retired = |reason| Retired {
            containers: containers.get_or_create_owned(&[("reason", reason)]),
            kills: kills.get_or_create_owned(&[("reason", reason)]),
        };
        let bounds = Bounds {
            shown: Gauge::default(),
            not_shown: Gauge::default(),
            ended: retired("ended"),
            full: retired("full"),
        };
        registry.register(
            "running_containers",
            "Containers of this node that run and have series of their own",
            bounds.shown.clone(),
        );
        registry.register(
            "running_containers_without_series",
            "Containers of this node that run and found no room for series of their own",
            bounds.not_shown.clone(),
        );
        registry.register(
            "retired_containers",
            "Containers whose series are gone: some time after their end, or to make room",
            containers,
        );
        registry.register(
            "retired_kills",
            "Kills that were counted in series that are gone",
            kills,
        );
        let host = (Arc::new(Who::default()), Entry::default());
        let this = Arc::new(Self {
            table: Mutex::new(BTreeMap::from([host])),
            bounds,
        });
        registry.register_collector(Box::new(Arc::clone(&this)));
        this
    }

    pub(super) fn count(&self, who: Who, scope: Scope, outcome: Outcome, now_ns: u64) {
        let mut table = lock(&self.table);
        if !table.contains_key(&who) && table.len() > MAX_CONTAINERS {
            self.make_room(&mut table, |_| true);
        }
        let entry = table.entry(Arc::new(who)).or_default();
        entry.touched_ns = entry.touched_ns.max(now_ns);
        let scope = SCOPES.iter().position(|(known, _)| *known == scope);
        let outcome = OUTCOMES.iter().position(|(known, _)| *known == outcome);
        let count = scope
            .and_then(|scope| entry.counts.get_mut(scope))
            .zip(outcome)
            .and_then(|(counts, outcome)| counts.get_mut(outcome));
        if let Some(count) = count {
            *count += 1;
        }
    }

    /// `containers` are all that run now.
    pub(super) fn set_running(&self, containers: Vec<Who>, now_ns: u64) {
        let mut table = lock(&self.table);
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
            let entry = table.entry(Arc::new(who)).or_default();
            shown += i64::from(!entry.running);
            entry.running = true;
            entry.touched_ns = entry.touched_ns.max(now_ns);
        }
        self.bounds.shown.set(shown);
        self.bounds.not_shown.set(not_shown);
    }

    pub(super) fn expire(&self, now_ns: u64) {
        lock(&self.table).retain(|who, entry| {
            let keep = who.is_host() || !entry.is_expired(now_ns);
            if !keep {
                self.bounds.ended.count(entry);
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
        self.bounds.full.count(&entry);
        true
    }
}

impl Retired {
    fn count(&self, entry: &Entry) {
        self.containers.inc();
        self.kills.inc_by(entry.total());
    }
}

impl Collector for Kills {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Copied, so that counting need not wait for the encoder.
        let rows: Vec<(Arc<Who>, Counts)> = lock(&self.table)
            .iter()
            .map(|(who, entry)| (Arc::clone(who), entry.counts))
            .collect();
        let mut encoder = encoder.encode_descriptor(
            "kills",
            "Processes killed by the OOM killer",
            None,
            MetricType::Counter,
        )?;
        for (who, counts) in &rows {
            for ((scope, scope_label), counts) in SCOPES.iter().zip(counts) {
                for ((outcome, outcome_label), count) in OUTCOMES.iter().zip(counts) {
                    if *count == 0 && !who.expects(*scope, *outcome) {
                        continue;
                    }
                    let labels = [
                        ("namespace", who.namespace.as_str()),
                        ("pod", &who.pod),
                        ("container", &who.container),
                        ("scope", scope_label),
                        ("outcome", outcome_label),
                    ];
                    ConstCounter::new(*count).encode(encoder.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kills")
            .field("containers", &lock(&self.table).len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_the_incident_line() {
        for (scope, label) in SCOPES {
            assert_eq!(serde_json::to_value(scope).unwrap(), label);
        }
        for (outcome, label) in OUTCOMES {
            assert_eq!(serde_json::to_value(outcome).unwrap(), label);
        }
    }
}
