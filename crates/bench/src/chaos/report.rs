//! What came of it, for the terminal and for docs/chaos.md. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use super::faults::Fault;
use crate::checks::Checks;
use crate::figures::seconds_in_tenths;
use crate::machine::Machine;
use crate::page::table;

/// All of one run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) length: Duration,
    /// Agents, one after another.
    pub(super) runs: u64,
    /// Lines of standard output that were cut short.
    pub(super) torn: u64,
    pub(super) faults: Vec<Injected>,
    pub(super) rows: Vec<Row>,
    pub(super) events: Events,
    pub(super) bonks: Bonks,
    pub(super) checks: Checks,
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
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) kills: u64,
    pub(super) once: u64,
    pub(super) doubled: u64,
    /// With an agent attached, while one started or ended, without one.
    pub(super) missing: [u64; 3],
}

/// Events of the incidents in pods.
#[derive(Debug)]
pub(super) struct Events {
    /// Incidents that were reported and are to have one each.
    pub(super) expected: u64,
    pub(super) written: u64,
    pub(super) unwritten: u64,
    pub(super) twice: u64,
    /// Of those that have none on their pod, or have one as well.
    pub(super) on_node: u64,
    /// All Events on the Node.
    pub(super) nodes: u64,
}

/// Bonks of all incidents.
#[derive(Debug)]
pub(super) struct Bonks {
    pub(super) incidents: u64,
    /// Of these, by any answer that an agent logged.
    pub(super) answered: u64,
    pub(super) accepted: u64,
    /// No room at the bonker.
    pub(super) full: u64,
    /// The bonker had accepted it before: an agent without an answer sent it again.
    pub(super) duplicates: u64,
    /// The bonker was ending.
    pub(super) rejected: u64,
}

const METHOD: &str = include_str!("method.md");

/// docs/chaos.md.
pub(super) fn page(report: &Report) -> String {
    format!(
        "# Chaos\n\n{}\n{}{METHOD}",
        report.machine.line(),
        tables(report)
    )
}

/// The figures.
pub(super) fn tables(report: &Report) -> String {
    let mut text = format!(
        "{} s, {} agents one after another, with `--pin` and `--state`.\n\n## What has to hold\n\n{}\n",
        report.length.as_secs(),
        report.runs,
        report.checks.list()
    );
    text.push_str(&lines(report));
    let events = &report.events;
    let _infallible = writeln!(
        text,
        "## Events\n\n{} incidents in pods were reported and are to have an Event each: {} have it on their pod, \
         {} do not, {} have two. Of the same incidents {} are on the Node, which has {} Events in all.\n",
        events.expected,
        events.written,
        events.unwritten,
        events.twice,
        events.on_node,
        events.nodes
    );
    let bonks = &report.bonks;
    let _infallible = writeln!(
        text,
        "## Bonks\n\n{} incidents were reported; of {} an agent logged the bonker's answer: \
         {} accepted, {} full, {} duplicates, {} rejected.\n",
        bonks.incidents,
        bonks.answered,
        bonks.accepted,
        bonks.full,
        bonks.duplicates,
        bonks.rejected
    );
    text.push_str(&faults(&report.faults));
    text
}

fn lines(report: &Report) -> String {
    let rows = report.rows.iter().map(|row| {
        let [watched, around, away] = row.missing;
        let counts = [row.kills, row.once, row.doubled, watched, around, away];
        let counts = counts.iter().map(ToString::to_string);
        std::iter::once(row.name.to_owned()).chain(counts).collect()
    });
    let head = [
        "kills",
        "made",
        "reported once",
        "twice",
        "missing, agent there",
        "missing, agent coming or going",
        "missing, no agent",
    ];
    format!(
        "## Lines\n\n{}\nLines that were cut short: {}.\n\n",
        table(&head, &rows.collect::<Vec<_>>()),
        report.torn
    )
}

fn faults(faults: &[Injected]) -> String {
    let rows = faults.iter().map(|one| {
        vec![
            one.fault.name().to_owned(),
            seconds_in_tenths(one.at),
            seconds_in_tenths(one.back),
        ]
    });
    let head = ["fault", "at s", "all back after s"];
    format!("## Faults\n\n{}\n", table(&head, &rows.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_was_lost_and_when() {
        let mut checks = Checks::default();
        checks.add_equal("two lines", 0, 0);
        let report = Report {
            machine: Machine::for_tests(),
            length: Duration::from_secs(90),
            runs: 4,
            torn: 1,
            faults: vec![Injected {
                at: Duration::from_millis(1250),
                fault: Fault::AgentKill,
                back: Duration::from_secs(2),
            }],
            rows: vec![Row {
                name: "in containers",
                kills: 100,
                once: 90,
                doubled: 0,
                missing: [0, 3, 7],
            }],
            events: Events {
                expected: 90,
                written: 88,
                unwritten: 2,
                twice: 0,
                on_node: 1,
                nodes: 25,
            },
            bonks: Bonks {
                incidents: 90,
                answered: 85,
                accepted: 20,
                full: 64,
                duplicates: 1,
                rejected: 0,
            },
            checks,
        };
        let page = page(&report);
        for part in [
            "90 s, 4 agents one after another, with `--pin` and `--state`.",
            "- two lines: 0 of 0",
            "| in containers |  100 |            90 |     0 |                    0 |                              3 |                 7 |",
            "90 incidents in pods were reported and are to have an Event each: 88 have it on their pod, 2 do not, 0 have two.",
            "of 85 an agent logged the bonker's answer: 20 accepted, 64 full, 1 duplicates, 0 rejected.",
            "| agent, SIGKILL |  1.2 |              2.0 |",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }
}
