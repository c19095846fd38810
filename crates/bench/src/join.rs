//! Which line reports which kill, and what all of them come to. Pure.

use super::figures::Times;
use super::tool::{Facts, Tool};
use super::victim::Kill;

/// Lines of one report are few; a stream that never reports a kill does not grow.
const BEFORE: usize = 16;

/// A line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// When it was read: `CLOCK_MONOTONIC`, in ns.
    pub(super) at_ns: u64,
    pub(super) text: String,
}

/// What one tool wrote of kills so far.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) tool: Tool,
    reports: Vec<ToolReport>,
    /// Lines of the kernel's that may belong to its next report of a kill.
    before: Vec<String>,
}

/// What a tool reported of one kill.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ToolReport {
    pid: u32,
    at_ns: u64,
    text: String,
}

/// What a tool reported of a series of kills.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    pub(super) seen: usize,
    /// How many reports had each fact right.
    pub(super) right: [usize; 4],
    /// All of them.
    pub(super) full: usize,
    /// From the kernel's stamp to the line, of those that were seen and have a stamp.
    pub(super) times: Option<Times>,
}

impl Journal {
    pub(super) fn new(tool: Tool) -> Self {
        Self {
            tool,
            reports: Vec::new(),
            before: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, line: Line) {
        let Some(pid) = self.tool.pid(&line.text) else {
            // The others report a kill in one line.
            if self.tool == Tool::Kmsg {
                if self.before.len() == BEFORE {
                    self.before.remove(0);
                }
                self.before.push(line.text);
            }
            return;
        };
        let mut text: String = self
            .before
            .drain(..)
            .rev()
            .map(|line| line + "\n")
            .collect();
        text.push_str(&line.text);
        self.reports.push(ToolReport {
            pid,
            at_ns: line.at_ns,
            text,
        });
    }

    fn report(&self, kill: &Kill) -> Option<&ToolReport> {
        let ours = |report: &&ToolReport| report.pid == kill.pid && report.at_ns >= kill.begun_ns;
        self.reports.iter().find(ours)
    }

    pub(super) fn has_report_of(&self, kill: &Kill) -> bool {
        self.report(kill).is_some()
    }

    /// What it reported of these kills, each with the stamp of its mark; `written` is when the tool wrote
    /// last before the next kill.
    pub(super) fn coverage(
        &self,
        kills: &[(Kill, Option<u64>)],
        written: &[Option<u64>],
    ) -> Coverage {
        let mut coverage = Coverage::default();
        let mut times = Vec::new();
        for ((kill, stamp_ns), written) in kills.iter().zip(written) {
            let Some(report) = self.report(kill) else {
                continue;
            };
            coverage.count(self.tool.facts(&report.text, kill));
            // What it wrote after this line was read is another one.
            let written = written.filter(|at_ns| *at_ns <= report.at_ns);
            let at_ns = written.unwrap_or(report.at_ns);
            let took = stamp_ns.and_then(|stamp| at_ns.checked_sub(stamp));
            times.extend(took);
        }
        coverage.times = Times::summarize(times);
        coverage
    }
}

impl Coverage {
    fn count(&mut self, facts: Facts) {
        self.seen += 1;
        for (right, fact) in self.right.iter_mut().zip(facts) {
            *right += usize::from(fact);
        }
        self.full += usize::from(facts == [true; 4]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tool::tests::{HUMAN, KMSG, kill};
    use super::*;

    fn line(at_ns: u64, text: &str) -> Line {
        Line {
            at_ns,
            text: text.to_owned(),
        }
    }

    fn journal(tool: Tool, lines: &[(u64, &str)]) -> Journal {
        let mut journal = Journal::new(tool);
        for (at_ns, text) in lines {
            journal.add(line(*at_ns, text));
        }
        journal
    }

    #[test]
    fn a_kill_is_found_by_its_pid_and_timed_by_its_stamp() {
        let journal = journal(Tool::AgentHuman, &[(120, "43 other"), (170, HUMAN)]);
        let coverage =
            journal.coverage(&[(kill(42), Some(110)), (kill(44), Some(110))], &[None; 2]);
        assert_eq!((coverage.seen, coverage.full), (1, 1));
        assert_eq!(coverage.times.unwrap().max, 60);
        assert!(journal.has_report_of(&kill(42)) && !journal.has_report_of(&kill(44)));
    }

    #[test]
    fn a_line_from_before_a_kill_is_of_another_process() {
        let journal = journal(Tool::Bpftrace, &[(99, "42 old"), (180, "42 idle-7")]);
        let coverage = journal.coverage(&[(kill(42), Some(110))], &[Some(150)]);
        assert_eq!((coverage.seen, coverage.right), (1, [1, 0, 0, 0]));
        assert_eq!(coverage.times.unwrap().p50, 40);
        let later = journal.coverage(&[(kill(42), Some(110))], &[Some(181)]);
        assert_eq!(later.times.unwrap().p50, 70, "that was another line");
    }

    #[test]
    fn without_a_stamp_a_kill_is_seen_and_not_timed() {
        let coverage = journal(Tool::Bpftrace, &[(180, "42 idle-7")])
            .coverage(&[(kill(42), None)], &[Some(150)]);
        assert_eq!((coverage.seen, coverage.times), (1, None));
    }

    #[test]
    fn the_kernels_lines_before_a_kill_are_part_of_its_report() {
        let other = "Killed process 43 (x)";
        let lines = [(101, KMSG[0]), (102, KMSG[1]), (103, KMSG[2]), (104, other)];
        let coverage = journal(Tool::Kmsg, &lines)
            .coverage(&[(kill(42), Some(100)), (kill(43), None)], &[None; 2]);
        assert_eq!((coverage.seen, coverage.right), (2, [1, 1, 0, 1]));
        assert_eq!(coverage.times.unwrap().max, 3);
    }
}
