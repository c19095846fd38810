//! Joins a victim's mark, autopsy and exit. A pure state machine over records and time.

use std::collections::BTreeMap;
use std::time::Duration;

use oom_agent_ebpf::{Autopsy, Exit, Mark, Record};

use super::autopsy::{text, victim};
use super::{Trigger, Victim};

/// How long a mark waits for the signal to reach its victim. A victim in uninterruptible
/// sleep gets it late; /proc still has it then.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long a told kill is remembered, so that its late or doubled records tell nothing new.
const MEMORY: Duration = Duration::from_mins(1);

/// Kills remembered at once, waiting ones included.
const CAPACITY: usize = 4096;

/// A kill with all that the kernel's records say of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The kernel's stamp of the mark: `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
    /// Whose allocation it was; `None` when the mark was lost.
    pub trigger: Option<Trigger>,
    /// Only the pid is set when there was no autopsy.
    pub victim: Victim,
    /// Whether the victim was read in its own context.
    pub autopsied: bool,
    /// What the records should have said and did not.
    pub degraded: Vec<String>,
}

/// The state: kills that wait for their autopsy, and kills lately told.
pub struct Assembler {
    page_size: u64,
    /// By the stamp of the mark. The kernel kills under one lock (`oom_lock`), so no two have the
    /// same; the pid would not do, as a mark may name a thread and the exit its process.
    kills: BTreeMap<u64, Kill>,
}

/// Times are the kernel's clock, in ns.
enum Kill {
    Waiting { mark: Mark, since_ns: u64 },
    Told { at_ns: u64 },
}

// === impl Assembler ===

impl Assembler {
    /// `page_size` in bytes.
    pub fn new(page_size: u64) -> Self {
        Self {
            page_size,
            kills: BTreeMap::new(),
        }
    }

    /// Takes one record; `now_ns` is `CLOCK_MONOTONIC`. Gives what is complete by it.
    pub fn take(&mut self, record: Record, now_ns: u64) -> Vec<Found> {
        let mut found = self.make_room(now_ns);
        found.extend(match record {
            Record::Mark(mark) => {
                let kill = Kill::Waiting {
                    mark,
                    since_ns: now_ns,
                };
                self.kills.entry(mark.stamp_ns).or_insert(kill);
                None
            }
            Record::Autopsy(autopsy) => self.autopsy(&autopsy, now_ns),
            Record::Exit(exit) => self.exit(&exit, now_ns),
        });
        found
    }

    /// Gives the kills whose autopsy is not awaited any longer.
    pub fn expire(&mut self, now_ns: u64) -> Vec<Found> {
        let expired = |since: u64, bound: Duration| {
            now_ns.saturating_sub(since) >= u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)
        };
        let mut found = Vec::new();
        self.kills.retain(|_, kill| match kill {
            Kill::Told { at_ns } => !expired(*at_ns, MEMORY),
            Kill::Waiting { mark, since_ns } => {
                if expired(*since_ns, PATIENCE) {
                    found.push(from_mark(mark, "the signal has not reached it in 200 ms"));
                    *kill = Kill::Told { at_ns: now_ns };
                }
                true
            }
        });
        found
    }

    /// When [`expire`](Self::expire) should be called next: `CLOCK_MONOTONIC`, in ns.
    /// `None`: nothing waits, and there is no reason to wake.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.kills
            .values()
            .filter_map(|kill| match kill {
                Kill::Waiting { since_ns, .. } => {
                    Some(since_ns.saturating_add(u64::try_from(PATIENCE.as_nanos()).ok()?))
                }
                Kill::Told { .. } => None,
            })
            .min()
    }

    fn autopsy(&mut self, autopsy: &Autopsy, now_ns: u64) -> Option<Found> {
        let trigger = match self.end(autopsy.mark_ns, now_ns) {
            End::Waited(mark) => Some(trigger(&mark)),
            End::Unknown => None,
            End::AlreadyTold => return None,
        };
        let mut degraded = Vec::new();
        if trigger.is_none() {
            degraded.push("trigger: the mark's record was lost".to_owned());
        }
        let victim = victim(autopsy, self.page_size, &mut degraded);
        Some(Found {
            stamp_ns: autopsy.mark_ns,
            trigger,
            victim,
            autopsied: true,
            degraded,
        })
    }

    fn exit(&mut self, exit: &Exit, now_ns: u64) -> Option<Found> {
        match self.end(exit.mark_ns, now_ns) {
            End::Waited(mark) => Some(from_mark(&mark, "it was already exiting")),
            // Its mark and its autopsy were both lost: the exit alone still tells of a kill.
            End::Unknown => Some(Found {
                stamp_ns: exit.mark_ns,
                trigger: None,
                victim: Victim {
                    pid: exit.tgid,
                    ..Victim::default()
                },
                autopsied: false,
                degraded: vec![
                    "trigger: the mark's record was lost".to_owned(),
                    "victims: the autopsy's record was lost".to_owned(),
                ],
            }),
            End::AlreadyTold => None,
        }
    }

    /// Moves a kill to the told ones.
    fn end(&mut self, mark_ns: u64, now_ns: u64) -> End {
        match self.kills.insert(mark_ns, Kill::Told { at_ns: now_ns }) {
            Some(Kill::Waiting { mark, .. }) => End::Waited(mark),
            Some(Kill::Told { .. }) => End::AlreadyTold,
            None => End::Unknown,
        }
    }

    fn make_room(&mut self, now_ns: u64) -> Vec<Found> {
        if self.kills.len() < CAPACITY {
            return Vec::new();
        }
        let mut found = self.expire(now_ns);
        if self.kills.len() >= CAPACITY
            && let Some((_, Kill::Waiting { mark, .. })) = self.kills.pop_first()
        {
            found.push(from_mark(&mark, "too many kills at once"));
        }
        found
    }
}

enum End {
    Waited(Mark),
    AlreadyTold,
    Unknown,
}

fn trigger(mark: &Mark) -> Trigger {
    Trigger {
        pid: mark.trigger_tgid,
        comm: text(&mark.trigger_comm),
    }
}

fn from_mark(mark: &Mark, reason: &str) -> Found {
    Found {
        stamp_ns: mark.stamp_ns,
        trigger: Some(trigger(mark)),
        victim: Victim {
            // The short layout tells the thread only; /proc tells its process.
            pid: if mark.tgid == 0 { mark.tid } else { mark.tgid },
            ..Victim::default()
        },
        autopsied: false,
        degraded: vec![format!("victims: not read in its own context: {reason}")],
    }
}
