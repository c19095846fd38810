//! What was made against what was told, over all agents. Pure.

use std::collections::BTreeSet;

use super::lives::{Life, When, when};
use super::report::{Bonks, Events, Row};
use crate::checks::Checks;
use crate::compare::{Noted, Struck, Told, compare, doubled_events};

/// Everything to be joined.
#[derive(Debug)]
pub(super) struct Account<'a> {
    pub(super) in_pods: &'a [Struck],
    pub(super) on_node: &'a [Struck],
    /// Of the first, as Events name their pods.
    pub(super) pods: &'a [String],
    pub(super) lives: &'a [Life],
    /// As the API has them.
    pub(super) events: &'a [Noted],
    /// The agent has `--pin`.
    pub(super) keeps_ring: bool,
    /// The agent has `--state`.
    pub(super) keeps_events: bool,
}

// === impl Account ===

impl Account<'_> {
    /// Lines by kind of kill.
    pub(super) fn rows(&self, checks: &mut Checks) -> Vec<Row> {
        let told: Vec<Told> = self.told().cloned().collect();
        let mut rows = Vec::new();
        let mut invented = 0;
        for (name, kills) in [
            ("in containers", self.in_pods),
            ("in plain cgroups", self.on_node),
        ] {
            let comparison = compare(kills, &told);
            let of = |what: When| {
                let found = comparison.missing.iter();
                found.filter(|kill| when(kill, self.lives) == what).count() as u64
            };
            invented += comparison.invented.len() as u64;
            rows.push(Row {
                name,
                kills: kills.len() as u64,
                once: comparison.once,
                doubled: comparison.doubled.len() as u64,
                missing: [of(When::Watched), of(When::Around), of(When::Away)],
            });
        }
        let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
        let watched = sum(|row| row.missing[0]);
        checks.same("kills under an agent's eyes that no line tells", watched, 0);
        checks.same("kills that two lines tell", sum(|row| row.doubled), 0);
        checks.same("lines that tell of no kill", invented, 0);
        if self.keeps_ring {
            let lost = sum(|row| row.missing[1].saturating_add(row.missing[2]));
            checks.same("kills without an agent that no line tells (--pin)", lost, 0);
        }
        rows
    }

    /// Events of the incidents in pods: each is to have one.
    pub(super) fn events(&self, checks: &mut Checks) -> Events {
        let owed = self.ids(self.in_pods);
        let on_pod = |event: &&Noted| self.pods.contains(&event.object);
        let written: BTreeSet<&str> = self
            .events
            .iter()
            .filter(on_pod)
            .map(|event| event.incident.as_str())
            .collect();
        let elsewhere: Vec<&Noted> = self.events.iter().filter(|event| !on_pod(event)).collect();
        let misplaced = elsewhere
            .iter()
            .filter(|event| owed.contains(event.incident.as_str()));
        let events = Events {
            owed: owed.len() as u64,
            written: owed.intersection(&written).count() as u64,
            unwritten: owed.difference(&written).count() as u64,
            twice: doubled_events(self.events).len() as u64,
            on_node: misplaced.count() as u64,
            nodes: elsewhere.len() as u64,
        };
        checks.same("incidents with two Events on one object", events.twice, 0);
        if self.keeps_events {
            let what = "incidents in pods without an Event on theirs (--state)";
            checks.same(what, events.unwritten, 0);
        }
        events
    }

    /// Bonks of all our incidents.
    pub(super) fn bonks(&self) -> Bonks {
        let mut incidents = self.ids(self.in_pods);
        incidents.extend(self.ids(self.on_node));
        let answers = self.lives.iter().flat_map(|life| &life.answered);
        let ours: Vec<&(String, String)> = answers
            .filter(|(id, _)| incidents.contains(id.as_str()))
            .collect();
        let answered: BTreeSet<&str> = ours.iter().map(|(id, _)| id.as_str()).collect();
        let of = |name: &str| ours.iter().filter(|(_, outcome)| outcome == name).count() as u64;
        Bonks {
            incidents: incidents.len() as u64,
            answered: answered.len() as u64,
            accepted: of("OUTCOME_ACCEPTED"),
            full: of("OUTCOME_FULL"),
            duplicates: of("OUTCOME_DUPLICATE"),
            rejected: of("OUTCOME_REJECTED"),
        }
    }

    fn told(&self) -> impl Iterator<Item = &Told> {
        self.lives.iter().flat_map(|life| &life.told)
    }

    /// Incidents that were told in the cgroups of these kills.
    fn ids(&self, kills: &[Struck]) -> BTreeSet<&str> {
        let cgroups: BTreeSet<&str> = kills.iter().map(|kill| kill.cgroup.as_str()).collect();
        self.told()
            .filter(|told| cgroups.contains(told.cgroup.as_str()))
            .map(|told| told.id.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(cgroup: &str, pid: u32, at_ms: u64) -> Struck {
        Struck {
            cgroup: cgroup.into(),
            pid,
            at_ms,
        }
    }

    fn told(id: &str, cgroup: &str, pid: u32) -> Told {
        Told {
            id: id.into(),
            cgroup: cgroup.into(),
            pid,
        }
    }

    fn event(object: &str, incident: &str) -> Noted {
        Noted {
            object: object.into(),
            incident: incident.into(),
            count: 1,
            held_back: 0,
        }
    }

    #[test]
    fn what_is_missing_is_sorted_and_what_is_promised_is_checked() {
        let lives = [Life {
            struck_ms: 10_000,
            gone_ms: 10_000,
            told: vec![
                told("a", "/pod", 1),
                told("b", "/pod", 2),
                told("n", "/node", 5),
            ],
            answered: vec![
                ("a".into(), "OUTCOME_ACCEPTED".into()),
                ("a".into(), "OUTCOME_DUPLICATE".into()),
                ("others".into(), "OUTCOME_ACCEPTED".into()),
            ],
            ..Life::default()
        }];
        let mut account = Account {
            in_pods: &[
                struck("/pod", 1, 1000),
                struck("/pod", 2, 2000),
                struck("/pod", 3, 20_000),
            ],
            on_node: &[struck("/node", 5, 1000), struck("/node", 6, 2000)],
            pods: &["Pod/hungry".to_owned()],
            lives: &lives,
            events: &[
                event("Pod/hungry", "a"),
                event("Node/x", "b"),
                event("Node/x", "n"),
            ],
            keeps_ring: false,
            keeps_events: false,
        };
        let mut checks = Checks::default();
        let rows = account.rows(&mut checks);
        assert_eq!((rows[0].once, rows[0].missing), (2, [0, 0, 1]));
        assert_eq!((rows[1].once, rows[1].missing), (1, [1, 0, 0]));
        let events = account.events(&mut checks);
        assert_eq!((events.owed, events.written, events.unwritten), (2, 1, 1));
        assert_eq!((events.on_node, events.nodes), (1, 2));
        let bonks = account.bonks();
        assert_eq!((bonks.incidents, bonks.answered), (3, 1));
        assert_eq!((bonks.accepted, bonks.duplicates), (1, 1));
        // Without its flags an agent promises no more than this.
        assert_eq!(
            checks.broken(),
            ["kills under an agent's eyes that no line tells"]
        );
        account.keeps_ring = true;
        account.keeps_events = true;
        let mut checks = Checks::default();
        account.rows(&mut checks);
        account.events(&mut checks);
        assert_eq!(checks.broken().len(), 3);
    }
}
