//! Kills against their reports, over all agents. Pure.

use std::collections::BTreeSet;

use super::report::{Bonks, Events, Row};
use super::runs::{Agent, Run, agent_at};
use crate::checks::Checks;
use crate::compare::{Event, IncidentLine, Kill, compare, doubled_events};

/// Everything to be joined.
#[derive(Debug)]
pub(super) struct Account<'a> {
    pub(super) in_pods: &'a [Kill],
    pub(super) on_node: &'a [Kill],
    /// Of the first, as Events name their pods.
    pub(super) pods: &'a [String],
    pub(super) runs: &'a [Run],
    /// As the API has them.
    pub(super) events: &'a [Event],
}

const MISSED: &str = "kills with an agent attached and without a line";

// === impl Account ===

impl Account<'_> {
    /// Lines by kind of kill.
    pub(super) fn rows(&self, checks: &mut Checks) -> Vec<Row> {
        let incidents: Vec<IncidentLine> = self.incidents().cloned().collect();
        let mut rows = Vec::new();
        let mut invented = 0;
        for (name, kills) in [
            ("in containers", self.in_pods),
            ("in plain cgroups", self.on_node),
        ] {
            let comparison = compare(kills, &incidents);
            let missing = |what: Agent| {
                let missing = comparison.missing.iter();
                missing
                    .filter(|kill| agent_at(kill, self.runs) == what)
                    .count() as u64
            };
            invented += comparison.invented.len() as u64;
            rows.push(Row {
                name,
                kills: kills.len() as u64,
                once: comparison.once,
                doubled: comparison.doubled.len() as u64,
                missing: [Agent::Attached, Agent::Changing, Agent::Absent].map(missing),
            });
        }
        let sum = |field: fn(&Row) -> u64| rows.iter().map(field).sum::<u64>();
        let attached = sum(|row| row.missing[0]);
        checks.add_equal(MISSED, attached, 0);
        checks.add_equal("kills with two lines", sum(|row| row.doubled), 0);
        checks.add_equal("lines of no kill", invented, 0);
        let lost = sum(|row| row.missing[1].saturating_add(row.missing[2]));
        checks.add_equal("kills without an agent and without a line (--pin)", lost, 0);
        rows
    }

    /// Events of the incidents in pods: each is to have one.
    pub(super) fn events(&self, checks: &mut Checks) -> Events {
        let expected = self.ids(self.in_pods);
        let on_pod = |event: &&Event| self.pods.contains(&event.object);
        let written: BTreeSet<&str> = self
            .events
            .iter()
            .filter(on_pod)
            .map(|event| event.incident.as_str())
            .collect();
        let elsewhere: Vec<&Event> = self.events.iter().filter(|event| !on_pod(event)).collect();
        let misplaced = elsewhere
            .iter()
            .filter(|event| expected.contains(event.incident.as_str()));
        let events = Events {
            expected: expected.len() as u64,
            written: expected.intersection(&written).count() as u64,
            unwritten: expected.difference(&written).count() as u64,
            twice: doubled_events(self.events).len() as u64,
            on_node: misplaced.count() as u64,
            nodes: elsewhere.len() as u64,
        };
        checks.add_equal("incidents with two Events on one object", events.twice, 0);
        let what = "incidents in pods without an Event on theirs (--state)";
        checks.add_equal(what, events.unwritten, 0);
        events
    }

    /// Bonks of all our incidents.
    pub(super) fn bonks(&self) -> Bonks {
        let mut incidents = self.ids(self.in_pods);
        incidents.extend(self.ids(self.on_node));
        let answers = self.runs.iter().flat_map(|run| &run.answered);
        let ours: Vec<&(String, String)> = answers
            .filter(|(id, _)| incidents.contains(id.as_str()))
            .collect();
        let answered: BTreeSet<&str> = ours.iter().map(|(id, _)| id.as_str()).collect();
        let count = |name: &str| ours.iter().filter(|(_, outcome)| outcome == name).count() as u64;
        Bonks {
            incidents: incidents.len() as u64,
            answered: answered.len() as u64,
            accepted: count("OUTCOME_ACCEPTED"),
            full: count("OUTCOME_FULL"),
            duplicates: count("OUTCOME_DUPLICATE"),
            rejected: count("OUTCOME_REJECTED"),
        }
    }

    fn incidents(&self) -> impl Iterator<Item = &IncidentLine> {
        self.runs.iter().flat_map(|run| &run.incidents)
    }

    /// Incidents that were reported in the cgroups of these kills.
    fn ids(&self, kills: &[Kill]) -> BTreeSet<&str> {
        let cgroups: BTreeSet<&str> = kills.iter().map(|kill| kill.cgroup.as_str()).collect();
        self.incidents()
            .filter(|incident| cgroups.contains(incident.cgroup.as_str()))
            .map(|incident| incident.id.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kill(cgroup: &str, pid: u32, at_ms: u64) -> Kill {
        Kill {
            cgroup: cgroup.into(),
            pid,
            at_ms,
        }
    }

    fn incident(id: &str, cgroup: &str, pid: u32) -> IncidentLine {
        IncidentLine {
            id: id.into(),
            cgroup: cgroup.into(),
            pid,
        }
    }

    fn event(object: &str, incident: &str) -> Event {
        Event {
            object: object.into(),
            incident: incident.into(),
            count: 1,
            held_back: 0,
        }
    }

    #[test]
    fn what_is_missing_is_sorted_and_what_is_promised_is_checked() {
        let runs = [Run {
            signalled_ms: 10_000,
            gone_ms: 10_000,
            incidents: vec![
                incident("a", "/pod", 1),
                incident("b", "/pod", 2),
                incident("n", "/node", 5),
            ],
            answered: vec![
                ("a".into(), "OUTCOME_ACCEPTED".into()),
                ("a".into(), "OUTCOME_DUPLICATE".into()),
                ("others".into(), "OUTCOME_ACCEPTED".into()),
            ],
            ..Run::default()
        }];
        let account = Account {
            in_pods: &[
                kill("/pod", 1, 1000),
                kill("/pod", 2, 2000),
                kill("/pod", 3, 20_000),
            ],
            on_node: &[kill("/node", 5, 1000), kill("/node", 6, 2000)],
            pods: &["Pod/hungry".to_owned()],
            runs: &runs,
            events: &[
                event("Pod/hungry", "a"),
                event("Node/x", "b"),
                event("Node/x", "n"),
            ],
        };
        let mut checks = Checks::default();
        let rows = account.rows(&mut checks);
        assert_eq!((rows[0].once, rows[0].missing), (2, [0, 0, 1]));
        assert_eq!((rows[1].once, rows[1].missing), (1, [1, 0, 0]));
        let events = account.events(&mut checks);
        assert_eq!(
            (events.expected, events.written, events.unwritten),
            (2, 1, 1)
        );
        assert_eq!((events.on_node, events.nodes), (1, 2));
        let bonks = account.bonks();
        assert_eq!((bonks.incidents, bonks.answered), (3, 1));
        assert_eq!((bonks.accepted, bonks.duplicates), (1, 1));
        assert_eq!(checks.broken().len(), 3);
    }
}
