//! The containers with names, and the queries for the others. Pure: time and chance are arguments.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cri::ContainerInfo;
use service::backoff::Backoff;

/// The most known containers, removed ones included: what Kubernetes allows a node, and their predecessors.
pub(super) const KNOWN: usize = 2048;

/// The most requested containers: all that may run when the agent starts.
pub(super) const REQUESTED: usize = KNOWN;

/// Queries for a container that no runtime knows: the last some 30 s after the first.
const UNKNOWN: u32 = 8;

/// How long a removed container with a victim is queried for: its Event waits.
const GONE: Duration = Duration::from_mins(2);

/// Containers by id.
#[derive(Debug, Default)]
pub(super) struct Table {
    known: HashMap<String, KnownContainer>,
    /// How many removals were counted.
    removals: u64,
    requested: HashMap<String, Request>,
    /// Containers that found no room.
    pub(super) dropped: u64,
}

#[derive(Debug)]
struct KnownContainer {
    found: ContainerInfo,
    /// The number of its removal; `None` while its cgroup exists.
    removed: Option<u64>,
}

#[derive(Debug)]
struct Request {
    due: Instant,
    backoff: Backoff,
    /// Its cgroup exists.
    lives: bool,
    /// It has a victim: it is queried for until then, though it is removed.
    until: Option<Instant>,
}

// === impl Table ===

impl Table {
    pub(super) fn get(&self, id: &str) -> Option<&ContainerInfo> {
        self.known.get(id).map(|known| &known.found)
    }

    /// A known container is queried for again: it may have another name by now.
    pub(super) fn add_cgroup(&mut self, id: &str, now: Instant) {
        if let Some(known) = self.known.get_mut(id) {
            known.removed = None;
        }
        if let Some(request) = self.request_mut(id, now) {
            request.lives = true;
        }
    }

    /// The name is kept: kills and Events may follow.
    pub(super) fn remove_cgroup(&mut self, id: &str) {
        if let Some(request) = self.requested.get_mut(id) {
            request.lives = false;
            if request.until.is_none() {
                self.requested.remove(id);
            }
        }
        if let Some(known) = self.known.get_mut(id) {
            self.removals += 1;
            known.removed = Some(self.removals);
        }
    }

    /// For a container with a victim: queries for its name, if it is unknown.
    pub(super) fn request(&mut self, id: &str, now: Instant) {
        if self.known.contains_key(id) {
            return;
        }
        if let Some(request) = self.request_mut(id, now)
            && request.until.is_none()
        {
            request.until = Some(now + GONE);
            request.due = now;
        }
    }

    pub(super) fn insert(&mut self, found: ContainerInfo) {
        let id = found.container.id.clone();
        let lives = self.requested.remove(&id).is_some_and(|it| it.lives);
        if let Some(known) = self.known.get_mut(&id) {
            known.found = found;
            return;
        }
        if self.known.len() >= KNOWN && !self.drop_one() {
            self.dropped += 1;
            return;
        }
        self.removals += 1;
        let removed = (!lives).then_some(self.removals);
        self.known.insert(id, KnownContainer { found, removed });
    }

    /// Drops the container that was removed first. False: all live.
    fn drop_one(&mut self) -> bool {
        let removed = self.known.iter();
        let removed = removed.filter_map(|(id, known)| Some((known.removed?, id)));
        let Some(id) = removed.min().map(|(_, id)| id.clone()) else {
            return false;
        };
        self.known.remove(&id);
        self.dropped += 1;
        true
    }

    /// After a failed query; `is_unknown`: every runtime answered, and none knows it.
    pub(super) fn put_off(&mut self, id: &str, is_unknown: bool, now: Instant, chance: f64) {
        let Some(request) = self.requested.get_mut(id) else {
            return;
        };
        request.due = now + request.backoff.next_wait(chance);
        let is_late = !request.lives && request.until.is_none_or(|until| request.due > until);
        if is_late || (is_unknown && request.backoff.attempts() >= UNKNOWN) {
            self.requested.remove(id);
        }
    }

    /// The containers to query for now.
    pub(super) fn due(&self, now: Instant) -> Vec<String> {
        let due = self
            .requested
            .iter()
            .filter(|(_, request)| request.due <= now);
        due.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.requested.values().map(|request| request.due).min()
    }

    pub(super) fn known_len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn requested_len(&self) -> usize {
        self.requested.len()
    }

    /// `None` where there is no room.
    fn request_mut(&mut self, id: &str, now: Instant) -> Option<&mut Request> {
        if !self.requested.contains_key(id) {
            if self.requested.len() >= REQUESTED {
                self.dropped += 1;
                return None;
            }
            let request = Request {
                due: now,
                backoff: Backoff::default(),
                lives: false,
                until: None,
            };
            self.requested.insert(id.to_owned(), request);
        }
        self.requested.get_mut(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::Container;

    fn identity(id: &str, name: &str) -> ContainerInfo {
        ContainerInfo {
            container: Container {
                id: id.to_owned(),
                name: Some(name.to_owned()),
                runtime: None,
            },
            pod: None,
        }
    }

    fn name_of(table: &Table, id: &str) -> Option<String> {
        table.get(id)?.container.name.clone()
    }

    #[test]
    fn a_new_container_is_queried_for_at_once_and_its_name_outlives_it() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.add_cgroup("a", now);
        assert_eq!(table.due(now), ["a"]);
        table.insert(identity("a", "main"));
        assert_eq!((table.due(now), table.next_due()), (vec![], None));
        table.remove_cgroup("a");
        assert_eq!(name_of(&table, "a").as_deref(), Some("main"));
    }

    #[test]
    fn a_container_that_is_started_again_keeps_its_name_until_it_has_another() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.insert(identity("a", "old"));
        table.add_cgroup("a", now);
        assert_eq!(table.due(now), ["a"]);
        assert_eq!(name_of(&table, "a").as_deref(), Some("old"));
        table.insert(identity("a", "new"));
        assert_eq!(name_of(&table, "a").as_deref(), Some("new"));
        assert_eq!(table.known_len(), 1);
    }

    #[test]
    fn a_silent_runtime_is_queried_as_long_as_the_container_lives() {
        let (mut table, mut now) = (Table::default(), Instant::now());
        table.add_cgroup("a", now);
        for _ in 0..100 {
            now = table.next_due().unwrap();
            assert_eq!(table.due(now), ["a"]);
            table.put_off("a", false, now, 1.0);
        }
        table.remove_cgroup("a");
        assert_eq!(table.next_due(), None);
    }

    #[test]
    fn a_container_that_no_runtime_knows_is_given_up() {
        let (mut table, start) = (Table::default(), Instant::now());
        table.add_cgroup("a", start);
        let mut now = start;
        while let Some(next) = table.next_due() {
            now = next;
            table.put_off("a", true, now, 1.0);
        }
        let took = now - start;
        assert!(
            took > Duration::from_secs(20) && took < Duration::from_mins(1),
            "{took:?}"
        );
    }

    #[test]
    fn a_removed_container_with_a_victim_is_queried_for_while_its_event_waits() {
        let (mut table, start) = (Table::default(), Instant::now());
        table.add_cgroup("a", start);
        table.put_off("a", false, start, 1.0);
        table.request("a", start);
        assert_eq!(table.due(start), ["a"]);
        table.remove_cgroup("a");
        let mut now = start;
        while let Some(next) = table.next_due() {
            now = next;
            table.put_off("a", false, now, 1.0);
        }
        let took = now - start;
        assert!(took > Duration::from_mins(1) && took <= GONE, "{took:?}");
        table.insert(identity("a", "main"));
        table.request("a", now);
        assert_eq!(table.next_due(), None, "it is known");
    }

    #[test]
    fn a_running_container_is_not_dropped_for_removed_ones() {
        let (mut table, now) = (Table::default(), Instant::now());
        for id in ["lives", "restarted"] {
            table.add_cgroup(id, now);
            table.insert(identity(id, "main"));
        }
        for n in 0..3 * KNOWN {
            table.remove_cgroup("restarted");
            table.add_cgroup("restarted", now);
            let id = n.to_string();
            table.add_cgroup(&id, now);
            table.insert(identity(&id, "main"));
            table.remove_cgroup(&id);
        }
        assert!(table.get("lives").is_some() && table.get("restarted").is_some());
        assert!(table.known_len() <= KNOWN);
    }

    #[test]
    fn the_table_is_bounded_and_counts_what_finds_no_room() {
        let (mut table, now) = (Table::default(), Instant::now());
        for n in 0..=REQUESTED {
            table.add_cgroup(&n.to_string(), now);
        }
        assert_eq!((table.requested_len(), table.dropped), (REQUESTED, 1));
        for n in 0..=KNOWN {
            table.insert(identity(&n.to_string(), "main"));
        }
        assert_eq!((table.known_len(), table.dropped), (KNOWN, 2));
        // All others live.
        assert!(table.get(&KNOWN.to_string()).is_none() && table.get("0").is_some());
    }
}
