//! Which terminations are OOM kills that nobody has been told of yet. Pure.
//!
//! A container's status shows two instances that have ended at most, and shows them again with every
//! change of its pod. State is kept of containers that were OOM-killed only.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use crate::k8s::{ContainerStatus, Ended, List, PodStatus};

/// What Kubernetes calls it.
const OOM_KILLED: &str = "OOMKilled";

/// Kills of one container that are known one by one; those before the oldest of them are all taken for told.
const KNOWN: usize = 8;

/// Pods with kills that are remembered.
const PODS: usize = 16 * 1024;

/// An OOM kill as a pod's status tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) node: Option<String>,
    pub(super) list: List,
    pub(super) container: String,
    pub(super) ended: Ended,
    /// That of `ended`.
    pub(super) finished_at: Timestamp,
}

/// What a status held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) kills: Vec<Kill>,
    /// Containers without a kill.
    pub(super) not_oom_killed: u64,
    /// Kills before the time that is told of, or at no time.
    pub(super) too_old: u64,
    /// Kills that have been given before.
    pub(super) repeated: u64,
}

/// The memory of what has been given.
#[derive(Debug)]
pub(super) struct Kills {
    /// Kills before this are not told.
    since: Timestamp,
    pods: HashMap<String, Pod>,
    /// Of the list of all pods.
    round: u64,
    most: usize,
}

#[derive(Debug, Default)]
struct Pod {
    round: u64,
    containers: HashMap<String, Known>,
}

/// Kills of one container that have been given.
#[derive(Debug, Default)]
struct Known {
    last: VecDeque<(String, Timestamp)>,
    /// The latest of those that are not in `last` any more.
    forgotten: Option<Timestamp>,
}

// === impl Kills ===

impl Kills {
    pub(super) fn new(since: Timestamp) -> Self {
        Self {
            since,
            pods: HashMap::new(),
            round: 0,
            most: PODS,
        }
    }

    /// Gives each kill once, in whatever order and however often statuses come.
    pub(super) fn take(&mut self, pod: &PodStatus) -> Taken {
        let mut taken = Taken::default();
        if let Some(known) = self.pods.get_mut(&pod.uid) {
            known.round = self.round;
        }
        for container in &pod.containers {
            let mut killed = container
                .ended
                .iter()
                .filter(|ended| ended.reason == OOM_KILLED)
                .peekable();
            taken.not_oom_killed += u64::from(killed.peek().is_none());
            for ended in killed {
                match ended.finished_at.filter(|at| *at >= self.since) {
                    None => taken.too_old += 1,
                    Some(at) if self.is_new(pod, container, ended, at) => {
                        taken.kills.push(kill(pod, container, ended, at));
                    }
                    Some(_) => taken.repeated += 1,
                }
            }
        }
        self.make_room();
        taken
    }

    /// That pod will not come again.
    pub(super) fn forget(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    /// All pods are about to come.
    pub(super) fn listing(&mut self) {
        self.round += 1;
    }

    /// All have come: whoever has not is gone.
    pub(super) fn listed(&mut self) {
        self.pods.retain(|_, pod| pod.round == self.round);
    }

    fn is_new(
        &mut self,
        pod: &PodStatus,
        container: &ContainerStatus,
        ended: &Ended,
        at: Timestamp,
    ) -> bool {
        let round = self.round;
        let entry = self.pods.entry(pod.uid.clone()).or_default();
        entry.round = round;
        let known = entry.containers.entry(container.name.clone()).or_default();
        known.is_new(&ended.container_id, at)
    }

    /// Forgets whose last kill is the oldest. What is forgotten must not be told again: the
    /// time that is told of begins after it.
    fn make_room(&mut self) {
        while self.pods.len() > self.most {
            let oldest = self.pods.iter().min_by_key(|(_, pod)| pod.latest());
            let Some((uid, latest)) = oldest.map(|(uid, pod)| (uid.clone(), pod.latest())) else {
                return;
            };
            self.pods.remove(&uid);
            if let Some(latest) = latest {
                self.since = self.since.max(after(latest));
            }
        }
    }
}

// === impl Pod ===

impl Pod {
    fn latest(&self) -> Option<Timestamp> {
        let kills = self.containers.values().flat_map(|known| &known.last);
        kills.map(|(_, at)| *at).max()
    }
}

// === impl Known ===

impl Known {
    fn is_new(&mut self, id: &str, at: Timestamp) -> bool {
        if self.forgotten.is_some_and(|forgotten| at <= forgotten)
            || self
                .last
                .iter()
                .any(|(known, when)| known == id && *when == at)
        {
            return false;
        }
        self.last.push_back((id.to_owned(), at));
        if self.last.len() > KNOWN
            && let Some((_, oldest)) = self.pop_oldest()
        {
            self.forgotten = self.forgotten.max(Some(oldest));
        }
        true
    }

    fn pop_oldest(&mut self) -> Option<(String, Timestamp)> {
        let oldest = self.last.iter().enumerate().min_by_key(|(_, (_, at))| *at);
        let index = oldest.map(|(index, _)| index)?;
        self.last.remove(index)
    }
}

fn kill(pod: &PodStatus, container: &ContainerStatus, ended: &Ended, at: Timestamp) -> Kill {
    Kill {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        node: pod.node.clone(),
        list: container.list,
        container: container.name.clone(),
        ended: ended.clone(),
        finished_at: at,
    }
}

/// Kubernetes' times are whole seconds.
fn after(at: Timestamp) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_secs(1))
        .unwrap_or(at)
}

// === impl Kill ===

impl Kill {
    /// The container's id as the runtime has it.
    pub(super) fn bare_id(&self) -> &str {
        let id = &self.ended.container_id;
        id.split_once("://").map_or(id.as_str(), |(_, bare)| bare)
    }

    /// `containerd`, `cri-o`, `docker`, …
    pub(super) fn runtime(&self) -> Option<&str> {
        let (runtime, _) = self.ended.container_id.split_once("://")?;
        Some(runtime)
    }

    /// The same for the same kill, whoever tells it; a part of a DNS subdomain.
    pub(super) fn id(&self) -> String {
        let part = |text: &str, most: usize| -> String {
            let plain = text.chars().filter(char::is_ascii_alphanumeric).take(most);
            plain.map(|c| c.to_ascii_lowercase()).collect()
        };
        let (uid, container) = (part(&self.uid, 8), part(self.bare_id(), 16));
        let second = self.finished_at.as_second().unsigned_abs();
        format!("k8s-{uid}-{container}-{second}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn ended(n: i64, reason: &str) -> Ended {
        Ended {
            container_id: format!("containerd://{n:064x}"),
            reason: reason.to_owned(),
            exit_code: 137,
            started_at: Some(at(n * 10)),
            finished_at: Some(at(n * 10 + 9)),
        }
    }

    fn status(list: List, name: &str, ended: Vec<Ended>) -> ContainerStatus {
        let name = name.to_owned();
        ContainerStatus { list, name, ended }
    }

    fn pod(uid: &str, containers: Vec<ContainerStatus>) -> PodStatus {
        PodStatus {
            namespace: "shop".to_owned(),
            name: "hungry".to_owned(),
            uid: uid.to_owned(),
            node: Some("node-a".to_owned()),
            containers,
        }
    }

    fn main_of(uid: &str, ended: Vec<Ended>) -> PodStatus {
        pod(uid, vec![status(List::Containers, "main", ended)])
    }

    fn ids(taken: &Taken) -> Vec<&str> {
        let short = |kill: &'_ Kill| kill.bare_id().trim_start_matches('0').len();
        assert!(taken.kills.iter().all(|kill| short(kill) <= 64));
        taken.kills.iter().map(Kill::bare_id).collect()
    }

    #[test]
    fn the_one_that_died_is_named_and_a_restarting_sibling_repeats_nothing() {
        let mut kills = Kills::new(at(0));
        let dead = ended(1, "OOMKilled");
        let sibling = |ended| status(List::Containers, "sibling", ended);
        let killed = status(List::Containers, "main", vec![dead.clone()]);
        let first = kills.take(&pod("u", vec![killed.clone(), sibling(vec![])]));
        assert_eq!(ids(&first), [format!("{:064x}", 1)]);
        assert_eq!(first.not_oom_killed, 1);
        let again = kills.take(&pod("u", vec![killed, sibling(vec![ended(2, "Error")])]));
        assert_eq!((again.kills.len(), again.repeated), (0, 1));
    }

    #[test]
    fn containers_of_every_list_count_and_those_that_never_restart() {
        let mut kills = Kills::new(at(0));
        let lists = [
            List::InitContainers,
            List::Containers,
            List::EphemeralContainers,
        ];
        let containers = lists.map(|list| status(list, list.as_str(), vec![ended(1, "OOMKilled")]));
        let taken = kills.take(&pod("u", containers.to_vec()));
        let told: Vec<List> = taken.kills.iter().map(|kill| kill.list).collect();
        assert_eq!(told, lists);
    }

    #[test]
    fn what_happened_before_its_time_is_counted_and_not_told() {
        let mut kills = Kills::new(at(19));
        let taken = kills.take(&main_of(
            "u",
            vec![ended(0, "OOMKilled"), ended(1, "OOMKilled")],
        ));
        assert_eq!((taken.kills.len(), taken.too_old), (1, 1));
        let timeless = Ended {
            finished_at: None,
            ..ended(2, "OOMKilled")
        };
        assert_eq!(kills.take(&main_of("v", vec![timeless])).too_old, 1);
    }

    #[test]
    fn a_pod_that_has_gone_is_forgotten_and_the_others_are_not() {
        let mut kills = Kills::new(at(0));
        for uid in ["a", "b", "c"] {
            kills.take(&main_of(uid, vec![ended(1, "OOMKilled")]));
        }
        kills.forget("a");
        kills.listing();
        assert_eq!(
            kills.take(&main_of("b", vec![ended(1, "OOMKilled")])).kills,
            []
        );
        kills.listed();
        assert_eq!(kills.pods.keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_full_memory_forgets_and_still_repeats_nothing() {
        let mut kills = Kills::new(at(0));
        kills.most = 3;
        let all = |n: i64| main_of(&n.to_string(), vec![ended(n, "OOMKilled")]);
        for n in 0..10 {
            assert_eq!(kills.take(&all(n)).kills.len(), 1);
            assert!(kills.pods.len() <= 3);
        }
        for n in 0..10 {
            assert_eq!(kills.take(&all(n)).kills, []);
        }
    }

    #[test]
    fn the_id_is_part_of_a_name() {
        let mut kills = Kills::new(at(0));
        let strange = Ended {
            container_id: "x://A_b/\u{1b}é".to_owned(),
            ..ended(1, "OOMKilled")
        };
        let taken = kills.take(&main_of("6A4c-e4a0-ba47", vec![strange]));
        assert_eq!(taken.kills[0].id(), "k8s-6a4ce4a0-ab-1800000019");
    }

    /// What a container's instances came to, and the statuses it had meanwhile.
    fn history() -> impl Strategy<Value = (Vec<bool>, Vec<(usize, usize)>)> {
        let instances = prop::collection::vec(any::<bool>(), 1..=KNOWN);
        instances.prop_flat_map(|instances| {
            // An index of a status, and of the container: any order, any number of times.
            let seen = prop::collection::vec((0..=instances.len() * 2, 0..3_usize), 0..60);
            (Just(instances), seen)
        })
    }

    /// The container's status after that many halves of instances: an odd one is running.
    fn seen_at(instances: &[bool], half: usize) -> Vec<Ended> {
        let reason = |n: usize| if instances[n] { "OOMKilled" } else { "Error" };
        let over = |n: usize| ended(i64::try_from(n).unwrap(), reason(n));
        let finished = half / 2;
        let running = half % 2 == 1;
        match (finished, running) {
            (0, _) => vec![],
            (n, true) | (n @ 1, false) => vec![over(n - 1)],
            (n, false) => vec![over(n - 2), over(n - 1)],
        }
    }

    proptest! {
        #[test]
        fn each_kill_that_was_seen_is_told_once((instances, seen) in history(), relist in 0..60_usize) {
            let mut kills = Kills::new(at(0));
            let (mut told, mut visible) = (Vec::new(), Vec::new());
            for (step, (half, container)) in seen.iter().enumerate() {
                let mut now = seen_at(&instances, *half);
                for ended in &mut now {
                    ended.container_id.push_str(&container.to_string());
                }
                let killed = now.iter().filter(|ended| ended.reason == "OOMKilled");
                visible.extend(killed.map(|ended| ended.container_id.clone()));
                let name = format!("c{container}");
                let status = pod("u", vec![status(List::Containers, &name, now)]);
                if step == relist {
                    kills.listing();
                }
                let taken = kills.take(&status);
                if step == relist {
                    kills.listed();
                }
                told.extend(taken.kills.into_iter().map(|kill| kill.ended.container_id));
            }
            visible.sort();
            visible.dedup();
            told.sort();
            prop_assert_eq!(told, visible);
        }

        /// However many kills: none twice.
        #[test]
        fn none_is_told_twice(order in prop::collection::vec(0..40_i64, 0..200)) {
            let mut kills = Kills::new(at(0));
            let mut told = Vec::new();
            for n in order {
                let taken = kills.take(&main_of("u", vec![ended(n, "OOMKilled")]));
                told.extend(taken.kills.into_iter().map(|kill| kill.id()));
            }
            let all = told.len();
            told.sort();
            told.dedup();
            prop_assert_eq!(told.len(), all);
        }
    }
}
