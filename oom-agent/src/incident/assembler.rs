//! Joins a victim's mark, autopsy and exit. A pure state machine over records and time.

use std::collections::BTreeMap;
use std::time::Duration;

use oom_agent_ebpf::{Autopsy, Exit, Mark, Record};

use super::autopsy::{control, killed, text};
use super::group::Groups;
use super::{Fate, Found, Killed, Trigger, Victim};

/// How long a mark waits for the signal to reach its victim. A victim in uninterruptible
/// sleep gets it late; /proc still has it then.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long a told kill is remembered, so that its late or doubled records tell nothing new.
const MEMORY: Duration = Duration::from_mins(1);

/// Kills remembered at once, waiting ones included.
const CAPACITY: usize = 4096;

/// The state: kills that wait for their autopsy, and kills lately told.
pub struct Assembler {
    page_size: u64,
    /// By the stamp of the mark. The kernel kills under one lock (`oom_lock`), so no two have the
    /// same; the pid would not do, as a mark may name a thread and the exit its process.
    kills: BTreeMap<u64, Kill>,
    groups: Groups,
}

/// Times are the kernel's clock, in ns.
enum Kill {
    Waiting { mark: Box<Mark>, since_ns: u64 },
    Told { at_ns: u64 },
}

// === impl Assembler ===

impl Assembler {
    /// `page_size` in bytes.
    pub fn new(page_size: u64) -> Self {
        Self {
            page_size,
            kills: BTreeMap::new(),
            groups: Groups::default(),
        }
    }

    /// Takes one record; `now_ns` is `CLOCK_MONOTONIC`. Gives what is complete by it.
    pub fn take(&mut self, record: Record, now_ns: u64) -> Vec<Found> {
        let mut found = self.make_room(now_ns);
        found.extend(match record {
            Record::Mark(mark) => {
                let stamp_ns = mark.stamp_ns;
                let kill = Kill::Waiting {
                    mark,
                    since_ns: now_ns,
                };
                self.kills.entry(stamp_ns).or_insert(kill);
                None
            }
            Record::Autopsy(autopsy) => self.autopsy(&autopsy, now_ns),
            Record::Exit(exit) => self.exit(&exit, now_ns),
        });
        self.fold(found, now_ns)
    }

    /// Gives the kills whose autopsy is not awaited any longer, and the groups that are complete.
    pub fn expire(&mut self, now_ns: u64) -> Vec<Found> {
        let overdue = self.overdue(now_ns);
        let mut found = self.fold(overdue, now_ns);
        found.extend(self.groups.expire(now_ns));
        found
    }

    /// Gives all that is left: nothing more will come.
    pub fn end(&mut self) -> Vec<Found> {
        // First the kills that wait, then the groups that they may belong to.
        let mut found = self.expire(u64::MAX);
        found.extend(self.expire(u64::MAX));
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
            .chain(self.groups.deadline_ns())
            .min()
    }

    /// Holds back the kills of groups; the rest is complete.
    fn fold(&mut self, found: Vec<Found>, now_ns: u64) -> Vec<Found> {
        let groups = &mut self.groups;
        found
            .into_iter()
            .filter_map(|found| groups.take(found, now_ns))
            .collect()
    }

    fn autopsy(&mut self, autopsy: &Autopsy, now_ns: u64) -> Option<Found> {
        let mark = match self.tell(autopsy.mark_ns, now_ns) {
            End::Waited(mark) => Some(mark),
            End::Unknown => None,
            End::AlreadyTold => return None,
        };
        Some(found(mark.as_deref(), killed(autopsy, self.page_size)))
    }

    fn exit(&mut self, exit: &Exit, now_ns: u64) -> Option<Found> {
        match self.tell(exit.mark_ns, now_ns) {
            End::Waited(mark) => Some(from_mark(
                &mark,
                Fate::AlreadyExiting,
                "it was already exiting",
            )),
            // Its mark and its autopsy were both lost: the exit alone still tells of a kill.
            End::Unknown => Some(found(
                None,
                unread(
                    exit.tgid,
                    exit.mark_ns,
                    Fate::Unseen,
                    "the autopsy's record was lost",
                ),
            )),
            End::AlreadyTold => None,
        }
    }

    /// Moves a kill to the told ones.
    fn tell(&mut self, mark_ns: u64, now_ns: u64) -> End {
        match self.kills.insert(mark_ns, Kill::Told { at_ns: now_ns }) {
            Some(Kill::Waiting { mark, .. }) => End::Waited(mark),
            Some(Kill::Told { .. }) => End::AlreadyTold,
            None => End::Unknown,
        }
    }

    /// The kills that have waited long enough; forgets those told long ago.
    fn overdue(&mut self, now_ns: u64) -> Vec<Found> {
        let expired = |since: u64, bound: Duration| {
            now_ns.saturating_sub(since) >= u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)
        };
        let mut found = Vec::new();
        self.kills.retain(|_, kill| match kill {
            Kill::Told { at_ns } => !expired(*at_ns, MEMORY),
            Kill::Waiting { mark, since_ns } => {
                if expired(*since_ns, PATIENCE) {
                    found.push(from_mark(
                        mark,
                        Fate::Unseen,
                        "the signal has not reached it in 200 ms",
                    ));
                    *kill = Kill::Told { at_ns: now_ns };
                }
                true
            }
        });
        found
    }

    fn make_room(&mut self, now_ns: u64) -> Vec<Found> {
        if self.kills.len() < CAPACITY {
            return Vec::new();
        }
        let mut found = self.overdue(now_ns);
        if self.kills.len() >= CAPACITY
            && let Some((_, Kill::Waiting { mark, .. })) = self.kills.pop_first()
        {
            found.push(from_mark(&mark, Fate::Unseen, "too many kills at once"));
        }
        found
    }
}

enum End {
    Waited(Box<Mark>),
    AlreadyTold,
    Unknown,
}

fn found(mark: Option<&Mark>, killed: Killed) -> Found {
    let lost = mark
        .is_none()
        .then(|| "trigger: the mark's record was lost".to_owned());
    Found {
        stamp_ns: killed.stamp_ns,
        trigger: mark.map(|mark| Trigger {
            pid: mark.trigger_tgid,
            comm: text(&mark.trigger_comm),
        }),
        control: mark.and_then(control),
        killed: vec![killed],
        degraded: lost.into_iter().collect(),
    }
}

fn from_mark(mark: &Mark, fate: Fate, reason: &str) -> Found {
    // The short layout tells the thread only; /proc tells its process.
    let pid = if mark.tgid == 0 { mark.tid } else { mark.tgid };
    found(Some(mark), unread(pid, mark.stamp_ns, fate, reason))
}

fn unread(pid: u32, stamp_ns: u64, fate: Fate, reason: &str) -> Killed {
    Killed {
        marked: pid,
        stamp_ns,
        victim: Victim {
            pid,
            ..Victim::default()
        },
        fate,
        levels: Vec::new(),
        degraded: vec![format!("not read in its own context: {reason}")],
    }
}
