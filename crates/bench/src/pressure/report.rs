//! What came of it, for the terminal and as a section of docs/benchmarks.md. Pure.

use super::Report;
use crate::figures::{or_dash, ratio_tenths, tenths};
use crate::footprint::Activity;
use crate::table::Table;

/// The figures.
pub(super) fn tables(report: &Report) -> String {
    let containers = report.containers;
    let rows = [
        ("oom-agent, no container".to_owned(), report.idle),
        (format!("oom-agent, {containers} containers"), report.ours),
        (format!("poll, {containers} containers"), report.theirs),
    ];
    let table = Table::new(&rows)
        .column("watcher", |(name, _)| name)
        .column("% of one core", |(_, activity)| cpu(activity, report))
        .column("wake-ups", |(_, activity)| activity.switches);
    let ratio = ratio_tenths(report.theirs.cpu_ns, report.ours.cpu_ns);
    let ratio = or_dash(ratio.map(|ratio| format!("{}×", tenths(ratio))));
    format!(
        "{containers} containers with a limit, {} of them busy, each row {} s. The poll takes **{ratio}** the CPU time; wanted of the agent: less than 1 % of one core.\n\n{table}",
        report.busy,
        report.length.as_secs(),
    )
}

/// In hundredths, rounded up.
fn cpu(activity: &Activity, report: &Report) -> String {
    let length = report.length.as_nanos().max(1);
    let hundredths = (u128::from(activity.cpu_ns) * 10_000).div_ceil(length);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report() -> Report {
        let activity = |cpu_ns, switches| Activity { switches, cpu_ns };
        Report {
            containers: 250,
            busy: 50,
            length: Duration::from_mins(1),
            idle: activity(0, 0),
            ours: activity(180_000_000, 61),
            theirs: activity(4_000_000_000, 600),
        }
    }

    #[test]
    fn the_figures_are_in_it() {
        let text = tables(&report());
        assert!(
            text.contains("| oom-agent, no container   |          0.00 |        0 |"),
            "{text}"
        );
        assert!(
            text.contains("| oom-agent, 250 containers |          0.30 |       61 |"),
            "{text}"
        );
        assert!(text.contains("**22.2×**"), "{text}");
    }
}
