//! Which terminations in pods' statuses are OOM kills that are not reported yet. Pure.
//!
//! A container's status shows two instances that have ended at most, and shows them again with every
//! change of its pod. State is kept of containers that were OOM-killed only.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::counts::UpdateType;
use crate::k8s::{ContainerStatus, Ended, Pod, StatusKill};

/// The kubelet's reason.
const OOM_KILLED: &str = "OOMKilled";

/// Kills of one container that are known one by one; all before the oldest of them count as reported.
const KILLS_PER_CONTAINER: usize = 8;

/// Pods whose kills are remembered.
const MAX_PODS: usize = 16 * 1024;

/// Remembers the kills that were returned.
#[derive(Debug)]
pub(super) struct SeenKills {
    /// Kills before this are too old.
    since: Timestamp,
    pods: HashMap<String, PodKills>,
    /// Counts the lists of all pods.
    round: u64,
    capacity: usize,
}

#[derive(Debug, Default)]
struct PodKills {
    round: u64,
    containers: HashMap<String, ContainerKills>,
}

/// Kills of one container that were returned.
#[derive(Debug, Default)]
struct ContainerKills {
    /// Their times and the container's ids.
    last: BTreeSet<(Timestamp, String)>,
    /// The latest one that is no longer in `last`.
    forgotten: Option<Timestamp>,
}

// === impl SeenKills ===

impl SeenKills {
    pub(super) fn new(since: Timestamp) -> Self {
        Self {
            since,
            pods: HashMap::new(),
            round: 0,
            capacity: MAX_PODS,
        }
    }

    /// Returns each kill once, in whatever order and however often statuses come, and counts what is none.
    pub(super) fn scan(&mut self, pod: &Pod, mut count: impl FnMut(UpdateType)) -> Vec<StatusKill> {
        let mut kills = Vec::new();
        if let Some(known) = self.pods.get_mut(&pod.metadata.uid) {
            known.round = self.round;
        }
        for (list, container) in pod.container_statuses() {
            let killed = container.ended().filter(|end| end.reason == OOM_KILLED);
            let mut killed = killed.peekable();
            if killed.peek().is_none() {
                count(UpdateType::NotOomKilled);
            }
            for ended in killed {
                match ended.finished_at.filter(|at| *at >= self.since) {
                    None => count(UpdateType::TooOld),
                    Some(at) if self.is_new(&pod.metadata.uid, container, ended, at) => {
                        kills.push(StatusKill {
                            namespace: pod.metadata.namespace.clone(),
                            pod: pod.metadata.name.clone(),
                            uid: pod.metadata.uid.clone(),
                            node: pod.spec.node_name.clone(),
                            list,
                            container: container.name.clone(),
                            ended: ended.clone(),
                            finished_at: at,
                        });
                    }
                    Some(_) => count(UpdateType::SeenBefore),
                }
            }
        }
        self.make_room();
        kills
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    /// All pods follow.
    pub(super) fn start_list(&mut self) {
        self.round += 1;
    }

    /// Forgets the pods that the list did not have.
    pub(super) fn finish_list(&mut self) {
        self.pods.retain(|_, pod| pod.round == self.round);
    }

    fn is_new(
        &mut self,
        uid: &str,
        container: &ContainerStatus,
        ended: &Ended,
        at: Timestamp,
    ) -> bool {
        let entry = self.pods.entry(uid.to_owned()).or_default();
        entry.round = self.round;
        let known = entry.containers.entry(container.name.clone()).or_default();
        known.is_new((at, ended.container_id.clone()))
    }

    /// Forgets the pods whose last kill is the oldest. A forgotten kill must not be reported again:
    /// all up to its time become too old.
    fn make_room(&mut self) {
        while self.pods.len() > self.capacity {
            let oldest = self.pods.iter().min_by_key(|(_, pod)| pod.latest());
            let Some((uid, latest)) = oldest.map(|(uid, pod)| (uid.clone(), pod.latest())) else {
                return;
            };
            self.pods.remove(&uid);
            if let Some(latest) = latest {
                self.since = self.since.max(next_second(latest));
            }
        }
    }
}

// === impl PodKills ===

impl PodKills {
    fn latest(&self) -> Option<Timestamp> {
        let kills = self.containers.values();
        kills.filter_map(|known| Some(known.last.last()?.0)).max()
    }
}

// === impl ContainerKills ===

impl ContainerKills {
    fn is_new(&mut self, kill: (Timestamp, String)) -> bool {
        let is_forgotten = self.forgotten.is_some_and(|forgotten| kill.0 <= forgotten);
        if is_forgotten || !self.last.insert(kill) {
            return false;
        }
        if self.last.len() > KILLS_PER_CONTAINER
            && let Some((oldest, _)) = self.last.pop_first()
        {
            self.forgotten = self.forgotten.max(Some(oldest));
        }
        true
    }
}

/// Kubernetes' times are whole seconds.
fn next_second(at: Timestamp) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_secs(1))
        .unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::k8s::{List, State};

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

    /// `ended` are the instance before, and the current one.
    fn status(list: List, name: &str, ended: Vec<Ended>) -> (List, ContainerStatus) {
        let mut states = ended.into_iter().map(|ended| State {
            terminated: Some(ended),
            ..State::default()
        });
        let status = ContainerStatus {
            name: name.to_owned(),
            last_state: states.next(),
            state: states.next(),
            ..ContainerStatus::default()
        };
        (list, status)
    }

    fn pod(uid: &str, containers: Vec<(List, ContainerStatus)>) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = "shop".to_owned();
        pod.metadata.name = "hungry".to_owned();
        pod.metadata.uid = uid.to_owned();
        pod.spec.node_name = Some("node-a".to_owned());
        for (list, status) in containers {
            let all = match list {
                List::Containers => &mut pod.status.containers,
                List::InitContainers => &mut pod.status.init_containers,
                List::EphemeralContainers => &mut pod.status.ephemeral_containers,
            };
            all.get_or_insert_default().push(status);
        }
        pod
    }

    fn main_of(uid: &str, ended: Vec<Ended>) -> Pod {
        pod(uid, vec![status(List::Containers, "main", ended)])
    }

    /// What one status shows.
    #[derive(Default)]
    struct Scan {
        kills: Vec<StatusKill>,
        not_oom_killed: u64,
        too_old: u64,
        repeated: u64,
    }

    fn scan(kills: &mut SeenKills, pod: &Pod) -> Scan {
        let mut scan = Scan::default();
        scan.kills = kills.scan(pod, |update| match update {
            UpdateType::NotOomKilled => scan.not_oom_killed += 1,
            UpdateType::TooOld => scan.too_old += 1,
            UpdateType::SeenBefore => scan.repeated += 1,
            other => panic!("{other:?}"),
        });
        scan
    }

    fn ids(scan: &Scan) -> Vec<&str> {
        let short = |kill: &'_ StatusKill| kill.bare_id().trim_start_matches('0').len();
        assert!(scan.kills.iter().all(|kill| short(kill) <= 64));
        scan.kills.iter().map(StatusKill::bare_id).collect()
    }

    #[test]
    fn a_restarting_sibling_repeats_no_kill() {
        let mut kills = SeenKills::new(at(0));
        let dead = ended(1, "OOMKilled");
        let sibling = |ended| status(List::Containers, "sibling", ended);
        let killed = status(List::Containers, "main", vec![dead.clone()]);
        let first = scan(&mut kills, &pod("u", vec![killed.clone(), sibling(vec![])]));
        assert_eq!(ids(&first), [format!("{:064x}", 1)]);
        assert_eq!(first.not_oom_killed, 1);
        let again = scan(
            &mut kills,
            &pod("u", vec![killed, sibling(vec![ended(2, "Error")])]),
        );
        assert_eq!((again.kills.len(), again.repeated), (0, 1));
    }

    #[test]
    fn kills_in_every_list_of_containers_are_found() {
        let mut kills = SeenKills::new(at(0));
        let lists = [
            List::InitContainers,
            List::Containers,
            List::EphemeralContainers,
        ];
        let containers = lists.map(|list| status(list, list.into(), vec![ended(1, "OOMKilled")]));
        let scan = scan(&mut kills, &pod("u", containers.to_vec()));
        let found: Vec<List> = scan.kills.iter().map(|kill| kill.list).collect();
        assert_eq!(found, lists);
    }

    #[test]
    fn kills_before_the_lookback_are_counted_and_not_returned() {
        let mut kills = SeenKills::new(at(19));
        let first = scan(
            &mut kills,
            &main_of("u", vec![ended(0, "OOMKilled"), ended(1, "OOMKilled")]),
        );
        assert_eq!((first.kills.len(), first.too_old), (1, 1));
        let timeless = Ended {
            finished_at: None,
            ..ended(2, "OOMKilled")
        };
        assert_eq!(scan(&mut kills, &main_of("v", vec![timeless])).too_old, 1);
    }

    #[test]
    fn only_pods_that_are_gone_are_forgotten() {
        let mut kills = SeenKills::new(at(0));
        for uid in ["a", "b", "c"] {
            scan(&mut kills, &main_of(uid, vec![ended(1, "OOMKilled")]));
        }
        kills.forget("a");
        kills.start_list();
        assert_eq!(
            scan(&mut kills, &main_of("b", vec![ended(1, "OOMKilled")])).kills,
            []
        );
        kills.finish_list();
        assert_eq!(kills.pods.keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_full_memory_repeats_no_kill() {
        let mut kills = SeenKills::new(at(0));
        kills.capacity = 3;
        let all = |n: i64| main_of(&n.to_string(), vec![ended(n, "OOMKilled")]);
        for n in 0..10 {
            assert_eq!(scan(&mut kills, &all(n)).kills.len(), 1);
            assert!(kills.pods.len() <= 3);
        }
        for n in 0..10 {
            assert_eq!(scan(&mut kills, &all(n)).kills, []);
        }
    }

    #[test]
    fn the_id_is_valid_in_a_dns_name() {
        let mut kills = SeenKills::new(at(0));
        let strange = Ended {
            container_id: "x://A_b/\u{1b}é".to_owned(),
            ..ended(1, "OOMKilled")
        };
        let scan = scan(&mut kills, &main_of("6A4c-e4a0-ba47", vec![strange]));
        assert_eq!(scan.kills[0].id(), "k8s-6a4ce4a0-ab-1800000019");
    }

    /// Whether each instance of a container was OOM-killed, and the statuses seen meanwhile.
    fn history() -> impl Strategy<Value = (Vec<bool>, Vec<(usize, usize)>)> {
        let instances = prop::collection::vec(any::<bool>(), 1..=KILLS_PER_CONTAINER);
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
        fn each_visible_kill_is_returned_once((instances, seen) in history(), relist in 0..60_usize) {
            let mut kills = SeenKills::new(at(0));
            let (mut returned, mut visible) = (Vec::new(), Vec::new());
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
                    kills.start_list();
                }
                let scan = scan(&mut kills, &status);
                if step == relist {
                    kills.finish_list();
                }
                returned.extend(scan.kills.into_iter().map(|kill| kill.ended.container_id));
            }
            visible.sort();
            visible.dedup();
            returned.sort();
            prop_assert_eq!(returned, visible);
        }

        #[test]
        fn no_kill_is_returned_twice(order in prop::collection::vec(0..40_i64, 0..200)) {
            let mut kills = SeenKills::new(at(0));
            let mut returned = Vec::new();
            for n in order {
                let scan = scan(&mut kills, &main_of("u", vec![ended(n, "OOMKilled")]));
                returned.extend(scan.kills.into_iter().map(|kill| kill.id()));
            }
            let all = returned.len();
            returned.sort();
            returned.dedup();
            prop_assert_eq!(returned.len(), all);
        }
    }
}
