//! What came of it. Pure.

use std::fmt::Write as _;

use super::way::Way;
use crate::figures::{Spread, milliseconds, ratio_tenths};
use crate::machine::Machine;
use crate::page::table;

/// All of one run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) kills: usize,
    pub(super) every_s: u64,
    /// OOM kills of others meanwhile.
    pub(super) others: u64,
    pub(super) rows: Vec<Row>,
}

/// One way.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) way: Way,
    /// Kills that the servo moved for.
    pub(super) swung: usize,
    /// From the kernel's mark to the first pulse, in ns.
    pub(super) times: Option<Spread>,
}

const METHOD: &str = include_str!("method.md");

/// Its part of docs/benchmarks.md.
pub(super) fn page(report: &Report) -> String {
    format!(
        "# From the kernel's stamp to the first pulse\n\n{}\n{}\n{METHOD}",
        report.machine.line(),
        tables(report)
    )
}

/// The figures.
pub(super) fn tables(report: &Report) -> String {
    let median = |row: &Row| row.times.map(|times| times.median);
    let mut agents = report.rows.iter().filter(|row| row.way == Way::Agent);
    let agent = agents.find_map(median);
    let rows = report.rows.iter().map(|row| {
        let cell = |of: fn(Spread) -> u64| match row.times {
            Some(times) => milliseconds(of(times)),
            None => "–".to_owned(),
        };
        let ratio = median(row)
            .zip(agent)
            .and_then(|(theirs, ours)| ratio_tenths(theirs, ours));
        vec![
            row.way.name(),
            row.swung.to_string(),
            cell(|times| times.min),
            cell(|times| times.median),
            cell(|times| times.max),
            ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{}×", ratio / 10)),
        ]
    });
    let head = [
        "way",
        "swung",
        "min ms",
        "median ms",
        "max ms",
        "median / agent's",
    ];
    let mut text = format!(
        "{} kills, one every {} s, each reported by all ways.\n\n{}",
        report.kills,
        report.every_s,
        table(&head, &rows.collect::<Vec<_>>())
    );
    if report.others > 0 {
        let _infallible = writeln!(
            text,
            "\nOOM kills of others meanwhile: {}; the agent reports those, too.",
            report.others
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(way: Way, times: Vec<u64>) -> Row {
        Row {
            way,
            swung: times.len(),
            times: Spread::summarize(times),
        }
    }

    #[test]
    fn each_way_has_its_figures_and_how_many_times_the_agents_it_takes() {
        let report = Report {
            machine: Machine::for_tests(),
            kills: 3,
            every_s: 37,
            others: 4,
            rows: vec![
                row(Way::Agent, vec![2_000_000, 1_000_000, 9_000_000]),
                row(Way::Fast, Vec::new()),
                row(
                    Way::Original,
                    vec![41_000_000_000, 31_999_000_000, 88_000_000_000],
                ),
            ],
        };
        let text = page(&report);
        let cells = |first: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.contains(first)).unwrap();
            let cells = line.trim_matches('|').split('|').skip(1);
            cells.map(|cell| cell.trim().to_owned()).collect()
        };
        assert_eq!(cells("oom-agent →"), ["3", "1.000", "2.000", "9.000", "1×"]);
        assert_eq!(cells("every 1 s"), ["0", "–", "–", "–", "–"]);
        let original = ["3", "31999.000", "41000.000", "88000.000", "20500×"];
        assert_eq!(cells("every 30 s"), original);
        assert!(text.contains("3 kills, one every 37 s"), "{text}");
        assert!(text.contains("of others meanwhile: 4;"), "{text}");
        assert!(text.contains("Linux 6.18.0 on x86_64"), "{text}");
    }
}
