//! Which line tells of which kill, and what all of them come to. Pure.

use super::figures::Times;
use super::stopwatch::Line;
use super::tool::{Facts, Tool};
use super::victim::Kill;

/// Lines of one account are few; a stream that never tells of a kill does not grow.
const BEFORE: usize = 16;

/// What one tool wrote of kills so far.
#[derive(Debug)]
pub(super) struct Journal {
    tool: Tool,
    accounts: Vec<Account>,
    /// Lines that may belong to the next kill's account.
    before: Vec<String>,
}

/// What a tool told of one kill.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    pid: u32,
    at_ns: u64,
    text: String,
}

/// What a tool made of a series of kills.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) seen: usize,
    pub(super) comm: usize,
    pub(super) cgroup: usize,
    pub(super) cmdline: usize,
    pub(super) limit: usize,
    /// All of it.
    pub(super) full: usize,
    /// From the kernel's stamp to the line, of those that were seen and have a stamp.
    pub(super) times: Option<Times>,
}

impl Journal {
    pub(super) fn new(tool: Tool) -> Self {
        Self {
            tool,
            accounts: Vec::new(),
            before: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, line: Line) {
        let Some(pid) = self.tool.pid(&line.text) else {
            if self.before.len() == BEFORE {
                self.before.remove(0);
            }
            self.before.push(line.text);
            return;
        };
        let mut text: String = self.before.drain(..).map(|line| line + "\n").collect();
        if self.tool != Tool::Kmsg {
            // The others tell of a kill in one line.
            text.clear();
        }
        text.push_str(&line.text);
        self.accounts.push(Account {
            pid,
            at_ns: line.at_ns,
            text,
        });
    }

    fn account(&self, kill: &Kill) -> Option<&Account> {
        let ours = |account: &&Account| account.pid == kill.pid && account.at_ns >= kill.begun_ns;
        self.accounts.iter().find(ours)
    }

    pub(super) fn tells_of(&self, kill: &Kill) -> bool {
        self.account(kill).is_some()
    }

    /// What it told of these kills, each with the stamp of its mark; `written` is when the tool wrote
    /// last before the next kill.
    pub(super) fn told(&self, kills: &[(Kill, Option<u64>)], written: &[Option<u64>]) -> Told {
        let mut told = Told::default();
        let mut times = Vec::new();
        for ((kill, stamp_ns), written) in kills.iter().zip(written) {
            let Some(account) = self.account(kill) else {
                continue;
            };
            told.count(self.tool.facts(&account.text, kill));
            // What it wrote after this line was read is another one.
            let written = written.filter(|at_ns| *at_ns <= account.at_ns);
            let at_ns = written.unwrap_or(account.at_ns);
            let took = stamp_ns.and_then(|stamp| at_ns.checked_sub(stamp));
            times.extend(took);
        }
        told.times = Times::of(times);
        told
    }
}

impl Told {
    fn count(&mut self, facts: Facts) {
        self.seen += 1;
        self.comm += usize::from(facts.comm);
        self.cgroup += usize::from(facts.cgroup);
        self.cmdline += usize::from(facts.cmdline);
        self.limit += usize::from(facts.limit);
        self.full += usize::from(facts.full());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tool::tests::{HUMAN, KMSG, kill};
    use super::*;

    fn line(at_ns: u64, text: &str) -> Line {
        Line {
            stream: 0,
            at_ns,
            text: text.to_owned(),
        }
    }

    fn journal(tool: Tool, lines: &[(u64, &str)]) -> Journal {
        let mut journal = Journal::new(tool);
        for (at_ns, text) in lines {
            journal.take(line(*at_ns, text));
        }
        journal
    }

    #[test]
    fn a_kill_is_told_of_by_its_pid_and_timed_by_its_stamp() {
        let journal = journal(Tool::AgentHuman, &[(120, "43 other"), (170, HUMAN)]);
        let told = journal.told(&[(kill(42), Some(110)), (kill(44), Some(110))], &[None; 2]);
        assert_eq!((told.seen, told.full), (1, 1));
        assert_eq!(told.times.unwrap().max, 60);
        assert!(journal.tells_of(&kill(42)) && !journal.tells_of(&kill(44)));
    }

    #[test]
    fn a_line_from_before_a_kill_is_of_another_process() {
        let journal = journal(Tool::Bpftrace, &[(99, "42 old"), (180, "42 idle-7")]);
        let told = journal.told(&[(kill(42), Some(110))], &[Some(150)]);
        assert_eq!((told.seen, told.comm), (1, 1));
        assert_eq!(told.times.unwrap().p50, 40);
        let later = journal.told(&[(kill(42), Some(110))], &[Some(181)]);
        assert_eq!(later.times.unwrap().p50, 70, "that was another line");
    }

    #[test]
    fn without_a_stamp_a_kill_is_seen_and_not_timed() {
        let told =
            journal(Tool::Bpftrace, &[(180, "42 idle-7")]).told(&[(kill(42), None)], &[Some(150)]);
        assert_eq!((told.seen, told.times), (1, None));
    }

    #[test]
    fn the_report_before_a_kill_is_part_of_its_account() {
        let other = "Killed process 43 (x)";
        let lines = [(101, KMSG[0]), (102, KMSG[1]), (103, KMSG[2]), (104, other)];
        let told = journal(Tool::Kmsg, &lines)
            .told(&[(kill(42), Some(100)), (kill(43), None)], &[None; 2]);
        assert_eq!((told.seen, told.cgroup, told.limit), (2, 1, 1));
        assert_eq!(told.times.unwrap().max, 3);
    }
}
