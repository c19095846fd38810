//! Which containers have names, and which are to be asked for when. Pure: time and chance are arguments.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::cri::ContainerInfo;
use crate::sinks::Backoff;

/// Containers whose names are kept, those that have gone included: what Kubernetes allows a node, and
/// those before them.
pub(super) const KNOWN: usize = 2048;

/// Containers that wait for their names: all that there may be when the agent starts.
pub(super) const WANTED: usize = KNOWN;

/// A container that no runtime knows is asked for so often: the last some 30 s after the first.
const UNKNOWN: u32 = 8;

/// A container that has gone, and in which there was a kill, is asked for so long: its Event waits.
const GONE: Duration = Duration::from_mins(2);

/// What the runtimes said, by the container's id.
#[derive(Debug, Default)]
pub(super) struct Table {
    known: HashMap<String, Known>,
    /// Those whose cgroups are not there, in the order in which they went: the first is forgotten first.
    gone: VecDeque<String>,
    wanted: HashMap<String, Wanted>,
    /// What found no room.
    pub(super) dropped: u64,
}

#[derive(Debug)]
struct Known {
    found: ContainerInfo,
    /// Its cgroup is there.
    lives: bool,
    /// It is in `gone`, whether it lives again or not.
    is_queued: bool,
}

#[derive(Debug)]
struct Wanted {
    due: Instant,
    backoff: Backoff,
    /// Its cgroup is there.
    lives: bool,
    /// There was a kill in it: it is asked for until then, though it has gone.
    until: Option<Instant>,
}

// === impl Table ===

impl Table {
    /// What was said of a container last.
    pub(super) fn get(&self, id: &str) -> Option<&ContainerInfo> {
        self.known.get(id).map(|known| &known.found)
    }

    /// Its cgroup is there. One that is known is asked for once more: it may have another name by now.
    pub(super) fn appeared(&mut self, id: &str, now: Instant) {
        if let Some(known) = self.known.get_mut(id) {
            known.lives = true;
        }
        if let Some(wanted) = self.wanted(id, now) {
            wanted.lives = true;
        }
    }

    /// Its cgroup is gone. Its name is kept: kills and Events may come after it.
    pub(super) fn disappeared(&mut self, id: &str) {
        if let Some(wanted) = self.wanted.get_mut(id) {
            wanted.lives = false;
            if wanted.until.is_none() {
                self.wanted.remove(id);
            }
        }
        if let Some(known) = self.known.get_mut(id) {
            known.lives = false;
            queue(&mut self.gone, id, known);
        }
    }

    /// A process of it was killed, and its name is not known.
    pub(super) fn want(&mut self, id: &str, now: Instant) {
        if self.known.contains_key(id) {
            return;
        }
        if let Some(wanted) = self.wanted(id, now)
            && wanted.until.is_none()
        {
            wanted.until = Some(now + GONE);
            wanted.due = now;
        }
    }

    /// A runtime has told of it.
    pub(super) fn learn(&mut self, found: ContainerInfo) {
        let id = found.container.id.clone();
        let lives = self.wanted.remove(&id).is_some_and(|it| it.lives);
        if let Some(known) = self.known.get_mut(&id) {
            known.found = found;
            return;
        }
        if self.known.len() >= KNOWN && !self.forget_one() {
            self.dropped += 1;
            return;
        }
        let known = self.known.entry(id.clone()).or_insert(Known {
            found,
            lives,
            is_queued: false,
        });
        if !lives {
            queue(&mut self.gone, &id, known);
        }
    }

    /// The name of the one that has gone first. False: all live.
    fn forget_one(&mut self) -> bool {
        while let Some(id) = self.gone.pop_front() {
            match self.known.get_mut(&id) {
                Some(known) if known.lives => known.is_queued = false,
                Some(_) => {
                    self.known.remove(&id);
                    self.dropped += 1;
                    return true;
                }
                None => {}
            }
        }
        false
    }

    /// It was asked for in vain; `is_unknown` where every runtime answered and none knows it.
    pub(super) fn fail(&mut self, id: &str, is_unknown: bool, now: Instant, chance: f64) {
        let Some(wanted) = self.wanted.get_mut(id) else {
            return;
        };
        wanted.due = now + wanted.backoff.next(chance);
        let is_late = !wanted.lives && wanted.until.is_none_or(|until| wanted.due > until);
        if is_late || (is_unknown && wanted.backoff.attempts() >= UNKNOWN) {
            self.wanted.remove(id);
        }
    }

    /// Those that are to be asked for by now.
    pub(super) fn due(&self, now: Instant) -> Vec<String> {
        let due = self.wanted.iter().filter(|(_, wanted)| wanted.due <= now);
        due.map(|(id, _)| id.clone()).collect()
    }

    /// When the next is.
    pub(super) fn next(&self) -> Option<Instant> {
        self.wanted.values().map(|wanted| wanted.due).min()
    }

    pub(super) fn known_len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn wanted_len(&self) -> usize {
        self.wanted.len()
    }

    /// `None` where there is no room.
    fn wanted(&mut self, id: &str, now: Instant) -> Option<&mut Wanted> {
        if !self.wanted.contains_key(id) {
            if self.wanted.len() >= WANTED {
                self.dropped += 1;
                return None;
            }
            let wanted = Wanted {
                due: now,
                backoff: Backoff::default(),
                lives: false,
                until: None,
            };
            self.wanted.insert(id.to_owned(), wanted);
        }
        self.wanted.get_mut(id)
    }
}

/// Each once.
fn queue(gone: &mut VecDeque<String>, id: &str, known: &mut Known) {
    if !known.is_queued {
        known.is_queued = true;
        gone.push_back(id.to_owned());
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

    fn name(table: &Table, id: &str) -> Option<String> {
        table.get(id)?.container.name.clone()
    }

    #[test]
    fn a_new_container_is_asked_for_at_once_and_its_name_outlives_it() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.appeared("a", now);
        assert_eq!(table.due(now), ["a"]);
        table.learn(identity("a", "main"));
        assert_eq!((table.due(now), table.next()), (vec![], None));
        table.disappeared("a");
        assert_eq!(name(&table, "a").as_deref(), Some("main"));
    }

    #[test]
    fn a_container_that_is_started_again_keeps_its_name_until_it_has_another() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.learn(identity("a", "old"));
        table.appeared("a", now);
        assert_eq!(table.due(now), ["a"]);
        assert_eq!(name(&table, "a").as_deref(), Some("old"));
        table.learn(identity("a", "new"));
        assert_eq!(name(&table, "a").as_deref(), Some("new"));
        assert_eq!(table.known_len(), 1);
    }

    #[test]
    fn a_silent_runtime_is_asked_as_long_as_the_container_lives() {
        let (mut table, mut now) = (Table::default(), Instant::now());
        table.appeared("a", now);
        for _ in 0..100 {
            now = table.next().unwrap();
            assert_eq!(table.due(now), ["a"]);
            table.fail("a", false, now, 1.0);
        }
        table.disappeared("a");
        assert_eq!(table.next(), None);
    }

    #[test]
    fn a_container_that_no_runtime_knows_is_given_up() {
        let (mut table, start) = (Table::default(), Instant::now());
        table.appeared("a", start);
        let mut now = start;
        while let Some(next) = table.next() {
            now = next;
            table.fail("a", true, now, 1.0);
        }
        let took = now - start;
        assert!(
            took > Duration::from_secs(20) && took < Duration::from_mins(1),
            "{took:?}"
        );
    }

    #[test]
    fn a_killed_container_that_is_gone_is_asked_for_while_its_event_waits() {
        let (mut table, start) = (Table::default(), Instant::now());
        table.appeared("a", start);
        table.fail("a", false, start, 1.0);
        table.want("a", start);
        assert_eq!(table.due(start), ["a"]);
        table.disappeared("a");
        let mut now = start;
        while let Some(next) = table.next() {
            now = next;
            table.fail("a", false, now, 1.0);
        }
        let took = now - start;
        assert!(took > Duration::from_mins(1) && took <= GONE, "{took:?}");
        table.learn(identity("a", "main"));
        table.want("a", now);
        assert_eq!(table.next(), None, "it is known");
    }

    #[test]
    fn a_container_that_lives_is_not_forgotten_for_those_that_have_gone() {
        let (mut table, now) = (Table::default(), Instant::now());
        for id in ["lives", "restarted"] {
            table.appeared(id, now);
            table.learn(identity(id, "main"));
        }
        for n in 0..3 * KNOWN {
            table.disappeared("restarted");
            table.appeared("restarted", now);
            let id = n.to_string();
            table.appeared(&id, now);
            table.learn(identity(&id, "main"));
            table.disappeared(&id);
        }
        assert!(table.get("lives").is_some() && table.get("restarted").is_some());
        assert!(table.known_len() <= KNOWN && table.gone.len() <= KNOWN);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_finds_no_room_is_counted() {
        let (mut table, now) = (Table::default(), Instant::now());
        for n in 0..=WANTED {
            table.appeared(&n.to_string(), now);
        }
        assert_eq!((table.wanted_len(), table.dropped), (WANTED, 1));
        for n in 0..=KNOWN {
            table.learn(identity(&n.to_string(), "main"));
        }
        assert_eq!((table.known_len(), table.dropped), (KNOWN, 2));
        // All others live.
        assert!(table.get(&KNOWN.to_string()).is_none() && table.get("0").is_some());
    }
}
