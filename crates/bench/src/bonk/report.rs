//! What came of it. Pure.

use std::fmt::Write as _;

use super::way::Way;
use crate::figures::{Times, milliseconds, or_dash, ratio_tenths};
use crate::table::Table;

/// All of one run.
#[derive(Debug)]
pub(super) struct Report {
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
    pub(super) times: Option<Times>,
}

/// The figures.
pub(super) fn tables(report: &Report) -> String {
    let time =
        |row: &Row, figure: fn(Times) -> u64| or_dash(row.times.map(figure).map(milliseconds));
    let mut agents = report.rows.iter().filter(|row| row.way == Way::Agent);
    let agent = agents.find_map(|row| row.times);
    let ratio = |row: &Row| ratio_tenths(row.times?.p50, agent?.p50);
    let table = Table::new(&report.rows)
        .column("way", |row| row.way.name())
        .column("swung", |row| row.swung)
        .column("min ms", |row| time(row, |times| times.min))
        .column("median ms", |row| time(row, |times| times.p50))
        .column("max ms", |row| time(row, |times| times.max))
        .column("median / agent's", |row| {
            or_dash(ratio(row).map(|ratio| format!("{}×", ratio / 10)))
        });
    let mut text = format!(
        "{} kills, one every {} s, each reported by all ways.\n\n{table}",
        report.kills, report.every_s,
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
            times: Times::summarize(times),
        }
    }

    #[test]
    fn each_way_has_its_figures_and_how_many_times_the_agents_it_takes() {
        let report = Report {
            kills: 3,
            every_s: 37,
            others: 4,
            rows: vec![
                row(Way::Agent, vec![2_000_000, 1_000_000, 9_000_000]),
                row(Way::ALL[1], Vec::new()),
                row(
                    Way::ALL[2],
                    vec![41_000_000_000, 31_999_000_000, 88_000_000_000],
                ),
            ],
        };
        let text = tables(&report);
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
    }
}
