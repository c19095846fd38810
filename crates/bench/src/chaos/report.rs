//! Kills against their reports, over all agents: for the terminal and for docs/chaos.md. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::faults::Fault;
use super::runs::{Agent, Run, agent_at};
use crate::checks::Checks;
use crate::compare::{Event, IncidentLine, Kill, compare, doubled_events};
use crate::figures::seconds_in_tenths;
use crate::table::Table;

/// All of one run.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) length: Duration,
    pub(super) faults: Vec<Injected>,
    pub(super) in_pods: &'a [Kill],
    pub(super) on_node: &'a [Kill],
    /// Of the first, as Events name their pods.
    pub(super) pods: &'a [String],
    /// Agents, one after another.
    pub(super) runs: &'a [Run],
    /// As the API has them.
    pub(super) events: &'a [Event],
}

/// A fault that was injected.
#[derive(Debug)]
pub(super) struct Injected {
    pub(super) at: Duration,
    pub(super) fault: Fault,
    /// Until all was there again.
    pub(super) back: Duration,
}

/// Kills of a kind, and the lines of them.
struct Lines {
    kills: &'static str,
    made: usize,
    once: u64,
    twice: usize,
    invented: usize,
    missing: Vec<Agent>,
}

impl Lines {
    fn missing(&self, agent: Agent) -> usize {
        let missing = self.missing.iter().filter(|one| **one == agent);
        missing.count()
    }
}

// === impl Report ===

impl Report<'_> {
    /// The figures, and whether what they promise holds.
    pub(super) fn tables(&self) -> (String, Checks) {
        let mut checks = Checks::default();
        let sections = [
            self.lines(&mut checks),
            self.events(&mut checks),
            self.bonks(),
            self.faults(),
        ];
        let text = format!(
            "{} s, {} agents one after another, with `--pin` and `--state`.\n\n## What has to hold\n\n{}\n{}",
            self.length.as_secs(),
            self.runs.len(),
            checks.list(),
            sections.join("\n")
        );
        (text, checks)
    }

    fn lines(&self, checks: &mut Checks) -> String {
        let incidents: Vec<IncidentLine> = self.incidents().cloned().collect();
        let lines = |name, kills: &[Kill]| {
            let comparison = compare(kills, &incidents);
            let missing = comparison.missing.iter();
            Lines {
                kills: name,
                made: kills.len(),
                once: comparison.once,
                twice: comparison.doubled.len(),
                invented: comparison.invented.len(),
                missing: missing.map(|kill| agent_at(kill, self.runs)).collect(),
            }
        };
        let rows = [
            lines("in containers", self.in_pods),
            lines("in plain cgroups", self.on_node),
        ];
        let mut expect_none = |what, count: fn(&Lines) -> usize| {
            let found: usize = rows.iter().map(count).sum();
            checks.add_equal(what, found as u64, 0);
        };
        expect_none("kills with an agent attached and without a line", |row| {
            row.missing(Agent::Attached)
        });
        expect_none("kills with two lines", |row| row.twice);
        expect_none("lines of no kill", |row| row.invented);
        expect_none("kills without an agent and without a line (--pin)", |row| {
            row.missing(Agent::Changing) + row.missing(Agent::Absent)
        });
        let table = Table::new(&rows)
            .column("kills", |row| row.kills)
            .column("made", |row| row.made)
            .column("reported once", |row| row.once)
            .column("twice", |row| row.twice)
            .column("missing, agent there", |row| row.missing(Agent::Attached))
            .column("missing, agent coming or going", |row| {
                row.missing(Agent::Changing)
            })
            .column("missing, no agent", |row| row.missing(Agent::Absent));
        let torn: u64 = self.runs.iter().map(|run| run.torn).sum();
        format!("## Lines\n\n{table}\nLines that were cut short: {torn}.\n")
    }

    /// Events of the incidents in pods: each is to have one.
    fn events(&self, checks: &mut Checks) -> String {
        let expected = self.ids(self.in_pods);
        let (on_pods, on_node): (Vec<&Event>, Vec<&Event>) = self
            .events
            .iter()
            .partition(|event| self.pods.contains(&event.object));
        let ids = on_pods.iter().map(|event| event.incident.as_str());
        let written: BTreeSet<&str> = ids.collect();
        let unwritten = expected.difference(&written).count();
        let twice = doubled_events(self.events).len();
        let ours = on_node
            .iter()
            .filter(|event| expected.contains(event.incident.as_str()));
        let text = format!(
            "## Events\n\n{} incidents in pods were reported and are to have an Event each: {} have it on their pod, \
             {unwritten} do not, {twice} have two. Of the same incidents {} are on the Node, which has {} Events in all.\n",
            expected.len(),
            expected.intersection(&written).count(),
            ours.count(),
            on_node.len()
        );
        checks.add_equal("incidents with two Events on one object", twice as u64, 0);
        let what = "incidents in pods without an Event on theirs (--state)";
        checks.add_equal(what, unwritten as u64, 0);
        text
    }

    /// Bonks of all our incidents, by any answer that an agent logged. One that was accepted before is a
    /// duplicate: an agent without an answer sent it again. A bonker that is ending rejects.
    fn bonks(&self) -> String {
        let mut incidents = self.ids(self.in_pods);
        incidents.extend(self.ids(self.on_node));
        let answers = self.runs.iter().flat_map(|run| &run.answered);
        let ours: Vec<&(String, String)> = answers
            .filter(|(id, _)| incidents.contains(id.as_str()))
            .collect();
        let answered: BTreeSet<&str> = ours.iter().map(|(id, _)| id.as_str()).collect();
        let count = |name: &str| ours.iter().filter(|(_, outcome)| outcome == name).count();
        format!(
            "## Bonks\n\n{} incidents were reported; of {} an agent logged the bonker's answer: \
             {} accepted, {} full, {} duplicates, {} rejected.\n",
            incidents.len(),
            answered.len(),
            count("OUTCOME_ACCEPTED"),
            count("OUTCOME_FULL"),
            count("OUTCOME_DUPLICATE"),
            count("OUTCOME_REJECTED"),
        )
    }

    fn faults(&self) -> String {
        let table = Table::new(&self.faults)
            .column("fault", |one| one.fault.name())
            .column("at s", |one| seconds_in_tenths(one.at))
            .column("all back after s", |one| seconds_in_tenths(one.back));
        format!("## Faults\n\n{table}")
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
        let report = Report {
            length: Duration::from_secs(90),
            faults: vec![Injected {
                at: Duration::from_millis(1250),
                fault: Fault::AgentKill,
                back: Duration::from_secs(2),
            }],
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
        let (text, checks) = report.tables();
        for part in [
            "90 s, 1 agents one after another, with `--pin` and `--state`.",
            "- kills with two lines: 0 of 0",
            "| in containers    |    3 |             2 |     0 |                    0 |                              0 |                 1 |",
            "| in plain cgroups |    2 |             1 |     0 |                    1 |                              0 |                 0 |",
            "2 incidents in pods were reported and are to have an Event each: 1 have it on their pod, 1 do not, 0 have two.",
            "Of the same incidents 1 are on the Node, which has 2 Events in all.",
            "3 incidents were reported; of 1 an agent logged the bonker's answer: 1 accepted, 0 full, 1 duplicates, 0 rejected.",
            "| agent, SIGKILL |  1.2 |              2.0 |",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert_eq!(checks.broken().len(), 3);
    }
}
