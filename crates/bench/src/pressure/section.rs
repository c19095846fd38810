//! What came of it, as a section of docs/benchmarks.md. Pure.

use super::Report;
use crate::figures::{ratio_tenths, tenths};
use crate::footprint::Activity;
use crate::page::table;

const TITLE: &str = "## Containers watched";

const METHOD: &str = "\
`oom-agent run` as it is by default looks at each container's usage, `memory.stat` and, on cgroup v2, pressure once a second, and sooner where the kernel notifies of a crossing or the growth demands it. The poll is what a sidecar like OOMHero's third version does, for all containers in one process: usage, limit, pressure, and `oom_score` and `oom_score_adj` of each process, every 100 ms, from files opened anew; it computes nothing. It is an unoptimised build of this repository's `xtask`, which spends its time in the kernel. One process lives in each container; the busy ones take 4 MiB and give them back three times a second. CPU time is that of all threads of the process (`/proc/PID/task/*/schedstat`), after each other, not at once.
";

/// The section, from its title on.
pub(super) fn section(report: &Report) -> String {
    let row = |name: String, activity: &Activity| {
        vec![name, cpu(activity, report), activity.switches.to_string()]
    };
    let rows = [
        row("oom-agent, no container".to_owned(), &report.idle),
        row(
            format!("oom-agent, {} containers", report.containers),
            &report.ours,
        ),
        row(
            format!("poll, {} containers", report.containers),
            &report.theirs,
        ),
    ];
    let ratio = ratio_tenths(report.theirs.cpu_ns, report.ours.cpu_ns);
    let ratio = ratio.map_or("–".to_owned(), |ratio| format!("{}×", tenths(ratio)));
    format!(
        "{TITLE}\n\n{}\n{} containers with a limit, {} of them busy, each row {} s. The poll takes **{ratio}** the CPU time; wanted of the agent: less than 1 % of one core.\n\n{}\n{METHOD}",
        report.machine.line(),
        report.containers,
        report.busy,
        report.length.as_secs(),
        table(&["watcher", "% of one core", "wake-ups"], &rows),
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
    use crate::machine::Machine;

    fn report() -> Report {
        let activity = |cpu_ns, switches| Activity { switches, cpu_ns };
        Report {
            machine: Machine::for_tests(),
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
        let text = section(&report());
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
