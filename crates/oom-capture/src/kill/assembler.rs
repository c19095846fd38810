//! Joins a victim's mark, autopsy and exit. A pure state machine over records and time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use oom_agent_ebpf::{Autopsy, Environment, Exit, Mark, Record, invoked, known};
use zeroize::Zeroize as _;

use super::autopsy::{control, text, victim_from_autopsy};
use super::environment::{Allow, Kept};
use super::group::{self, Groups};
use super::{Fate, Kill, Process, Trigger, Victim};

/// How long a victim that was read from outside waits for its command line.
const PATIENCE: Duration = Duration::from_millis(200);

/// Said of what no record could tell.
const KERNEL: &str = "not readable in this kernel";
const AT_EXIT: &str = "read at its exit, where this was gone already";
const LATE: &str = "its signal has not reached it in time";

/// Whether there is more to come after a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Autopsies and exits; what has neither and was not read from outside is given up after this.
    Autopsies(Duration),
    /// Nothing: the classic tracepoint tells of marks only, and /proc must be read at once.
    Nothing,
}

/// How long a kill is remembered after its victim's end, so that late or doubled records tell nothing new.
const MEMORY: Duration = Duration::from_mins(1);

/// Kills remembered at once, waiting ones included. Those whose victims have ended make room first.
const CAPACITY: usize = 4096;

/// Environments whose autopsy is still to come; it follows at once, or was lost.
const ENVIRONMENTS: usize = 64;

/// The state: kills that wait for their autopsy, and kills lately told.
pub struct Assembler {
    page_size: u64,
    expect: Expect,
    /// By the stamp of the mark. The kernel kills under one lock (`oom_lock`), so no two have the
    /// same; the pid would not do, as a mark may name a thread and the exit its process.
    waiting: BTreeMap<u64, Waiting>,
    /// Kills that were told and whose victims are not seen to have ended, by the same stamp: that can
    /// take as long as a device or a server does not answer.
    told: BTreeSet<u64>,
    /// When the victims of the others ended.
    ended: BTreeMap<u64, u64>,
    groups: Groups,
    /// Stamps of what turned out to be no OOM kill.
    dismissed: Vec<u64>,
    allow: Allow,
    /// What is allowed of those that have come, by the stamp of the mark.
    environments: BTreeMap<u64, Kept>,
}

/// What can be here before the rest.
enum Part {
    Mark(Box<Mark>),
    Outside(Box<Victim>),
    Early(Box<Victim>),
}

/// What is there of a kill. Times are the kernel's clock, in ns.
#[derive(Default)]
struct Waiting {
    /// `None`: its record was lost, or is still to come.
    mark: Option<Box<Mark>>,
    /// What was read from outside.
    outside: Option<Box<Victim>>,
    /// What was read in its own context, before its mark.
    early: Option<Box<Victim>>,
    since_ns: u64,
}

// === impl Assembler ===

impl Assembler {
    /// `page_size` in bytes.
    pub fn new(page_size: u64, expect: Expect) -> Self {
        Self {
            page_size,
            expect,
            waiting: BTreeMap::new(),
            told: BTreeSet::new(),
            ended: BTreeMap::new(),
            groups: Groups::default(),
            dismissed: Vec::new(),
            allow: Allow::default(),
            environments: BTreeMap::new(),
        }
    }

    /// Tells what is allowed of the victims' environments.
    #[must_use]
    pub fn allowing(self, allow: Allow) -> Self {
        Self { allow, ..self }
    }

    /// Kills that another agent has told, by their stamps: their late or doubled records tell nothing new.
    pub fn remember(&mut self, told: impl IntoIterator<Item = u64>) {
        let told = told.into_iter();
        self.told.extend(told.take(CAPACITY / 2));
    }

    /// The stamps of what turned out to be no OOM kill, since this was asked last.
    pub fn dismissed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.dismissed)
    }

    /// Takes one record; `now_ns` is `CLOCK_MONOTONIC`. Gives what is complete by it.
    pub fn take(&mut self, record: Record, now_ns: u64) -> Vec<Kill> {
        let mut found = self.make_room(now_ns);
        found.extend(match record {
            Record::Mark(mark) if self.expect == Expect::Nothing => Some(one(
                Some(&mark),
                unread(&mark, "the classic tracepoint does not show it"),
            )),
            Record::InvocationEnd(end) => {
                self.groups.end(end, now_ns);
                None
            }
            Record::Mark(mark) if mark.invoked & invoked::COUNTED != 0 => {
                self.tell(mark.stamp_ns).map(|_| {
                    let mut victim = unread(&mark, "enough of its group were");
                    victim.fate = Fate::Counted;
                    one(Some(&mark), victim)
                })
            }
            Record::Mark(mark) => {
                let stamp_ns = mark.stamp_ns;
                self.wait(stamp_ns, now_ns, Part::Mark(mark));
                self.confirm(stamp_ns)
            }
            Record::Environment(environment) => {
                self.environment(environment);
                None
            }
            Record::Autopsy(autopsy) if autopsy.known & known::FROM_OUTSIDE != 0 => {
                let mut victim = victim_from_autopsy(&autopsy, self.page_size);
                victim.fate = Fate::Outside;
                self.wait(autopsy.mark_ns, now_ns, Part::Outside(Box::new(victim)));
                None
            }
            Record::Autopsy(autopsy) if autopsy.known & known::UNCONFIRMED != 0 => {
                let mut victim = victim_from_autopsy(&autopsy, self.page_size);
                self.add_environment(&mut victim);
                victim.missing.push(KERNEL.to_owned());
                self.wait(autopsy.mark_ns, now_ns, Part::Early(Box::new(victim)));
                self.confirm(autopsy.mark_ns)
            }
            Record::Autopsy(autopsy) => self.autopsy(&autopsy),
            Record::Exit(exit) => self.exit(&exit, now_ns),
            Record::NoVictim(_) => None,
        });
        self.fold(found, now_ns)
    }

    /// Gives the kills whose autopsy is not awaited any longer, and the groups that are complete.
    pub fn expire(&mut self, now_ns: u64) -> Vec<Kill> {
        let overdue = self.overdue(now_ns);
        let mut found = self.fold(overdue, now_ns);
        found.extend(self.groups.expire(now_ns));
        found
    }

    /// Gives all that is left: nothing more will come.
    pub fn end(&mut self) -> Vec<Kill> {
        // First the kills that wait, then the groups that they may belong to.
        let mut found = self.expire(u64::MAX);
        found.extend(self.expire(u64::MAX));
        found
    }

    /// When [`expire`](Self::expire) should be called next: `CLOCK_MONOTONIC`, in ns.
    /// `None`: nothing waits, and there is no reason to wake.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.waiting
            .values()
            .map(|kill| kill.deadline_ns(self.expect, &self.groups))
            .chain(self.groups.deadline_ns())
            .min()
    }

    /// Keeps what has come of a kill until the rest has.
    fn wait(&mut self, stamp_ns: u64, now_ns: u64, part: Part) {
        if self.is_told(stamp_ns) {
            return;
        }
        let kill = self.waiting.entry(stamp_ns).or_insert_with(|| Waiting {
            since_ns: now_ns,
            ..Waiting::default()
        });
        match part {
            Part::Mark(part) => kill.mark = kill.mark.take().or(Some(part)),
            Part::Outside(part) => kill.outside = kill.outside.take().or(Some(part)),
            Part::Early(part) => kill.early = kill.early.take().or(Some(part)),
        }
    }

    /// Tells a kill whose autopsy came before its mark, once both are here.
    fn confirm(&mut self, stamp_ns: u64) -> Option<Kill> {
        let kill = self.waiting.get(&stamp_ns)?;
        if kill.mark.is_none() || kill.early.is_none() {
            return None;
        }
        let kill = self.tell(stamp_ns)?;
        Some(one(kill.mark.as_deref(), *kill.early?))
    }

    /// Keeps what is allowed, and forgets the rest at once.
    fn environment(&mut self, mut environment: Box<Environment>) {
        let read = (environment.read as usize).min(environment.bytes.len());
        let bytes = environment.bytes.get(..read).unwrap_or_default();
        let kept = self.allow.keep(bytes, environment.size as usize);
        environment.bytes.zeroize();
        if self.environments.len() >= ENVIRONMENTS {
            self.environments.pop_first();
        }
        self.environments.insert(environment.mark_ns, kept);
    }

    fn add_environment(&mut self, victim: &mut Victim) {
        if let Some(kept) = self.environments.remove(&victim.stamp_ns) {
            victim.process.environment = Some(kept.environment);
            let cut = kept.degraded.map(|reason| format!("environment: {reason}"));
            victim.degraded.extend(cut);
        }
    }

    /// Holds back the kills of groups; the rest is complete.
    fn fold(&mut self, mut found: Vec<Kill>, now_ns: u64) -> Vec<Kill> {
        let victim = found.iter_mut().flat_map(|found| &mut found.victims);
        for victim in victim.filter(|_| !self.allow.is_empty()) {
            if victim.process.environment.is_none() {
                let reason = "environment: not read in its own context".to_owned();
                victim.degraded.push(reason);
            }
        }
        let mut complete = Vec::new();
        for mut found in found {
            let control = found.control.as_ref();
            for victim in &mut found.victims {
                victim.group = group::group(victim, control, self.page_size);
            }
            complete.extend(self.groups.take(found, now_ns));
        }
        complete.extend(self.groups.complete());
        complete
    }

    fn autopsy(&mut self, autopsy: &Autopsy) -> Option<Kill> {
        let kill = self.tell(autopsy.mark_ns)?;
        let mut victim = victim_from_autopsy(autopsy, self.page_size);
        self.add_environment(&mut victim);
        if let Some(outside) = kill.outside {
            victim.fill_from(*outside);
        }
        let at_exit = autopsy.known & known::AT_EXIT != 0;
        let reason = if at_exit { AT_EXIT } else { KERNEL };
        victim.missing.push(reason.to_owned());
        victim.exiting = at_exit && kill.mark.as_deref().is_some_and(choice_unseen);
        Some(one(kill.mark.as_deref(), victim))
    }

    fn exit(&mut self, exit: &Exit, now_ns: u64) -> Option<Kill> {
        self.environments.remove(&exit.mark_ns);
        let left = self.tell(exit.mark_ns);
        self.told.remove(&exit.mark_ns);
        self.ended.insert(exit.mark_ns, now_ns);
        let Waiting {
            mark,
            outside,
            early,
            ..
        } = left?;
        // Where its mark's record was lost: an exit is told of marked ones only.
        Some(match (mark, early, outside) {
            (mark, Some(victim), _) => one(mark.as_deref(), *victim),
            (mark, None, Some(victim)) => from_outside(mark.as_deref(), *victim, AT_EXIT),
            (Some(mark), None, None) => {
                let mut victim = unread(&mark, "no record has come before its exit");
                victim.exiting = choice_unseen(&mark);
                one(Some(&mark), victim)
            }
            // Its autopsy was lost too: the exit alone still tells of a kill.
            (None, None, None) => one(
                None,
                Victim {
                    marked: exit.tgid,
                    stamp_ns: exit.mark_ns,
                    process: Process {
                        pid: exit.tgid,
                        ..Process::default()
                    },
                    degraded: vec!["not read in its own context: the record was lost".to_owned()],
                    ..Victim::default()
                },
            ),
        })
    }

    /// Moves a kill to the told ones. Gives what there was of it; nothing when it was told before.
    fn tell(&mut self, stamp_ns: u64) -> Option<Waiting> {
        if self.is_told(stamp_ns) {
            return None;
        }
        self.told.insert(stamp_ns);
        Some(self.waiting.remove(&stamp_ns).unwrap_or_default())
    }

    fn is_told(&self, stamp_ns: u64) -> bool {
        self.told.contains(&stamp_ns) || self.ended.contains_key(&stamp_ns)
    }

    /// The kills that have waited long enough; forgets those whose victims ended long ago.
    fn overdue(&mut self, now_ns: u64) -> Vec<Kill> {
        // They end nearly in the order of their stamps: the oldest stands for the rest.
        while let Some(oldest) = self.ended.first_entry()
            && now_ns.saturating_sub(*oldest.get()) >= nanos(MEMORY)
        {
            oldest.remove();
        }
        let (expect, groups) = (self.expect, &self.groups);
        let overdue: Vec<(u64, Waiting)> = self
            .waiting
            .extract_if(.., |_, kill| kill.deadline_ns(expect, groups) <= now_ns)
            .collect();
        overdue
            .into_iter()
            .filter_map(|(stamp_ns, kill)| {
                self.told.insert(stamp_ns);
                self.give_up(stamp_ns, kill)
            })
            .collect()
    }

    fn give_up(&mut self, stamp_ns: u64, kill: Waiting) -> Option<Kill> {
        let found = kill.give_up();
        if found.is_none() {
            self.dismissed.push(stamp_ns);
        }
        found
    }

    fn make_room(&mut self, now_ns: u64) -> Vec<Kill> {
        let is_full =
            |this: &Self| this.told.len() + this.ended.len() + this.waiting.len() >= CAPACITY;
        if !is_full(self) {
            return Vec::new();
        }
        let mut found = self.overdue(now_ns);
        let forgotten =
            |this: &mut Self| this.ended.pop_first().is_some() || this.told.pop_first().is_some();
        if is_full(self) && !forgotten(self) {
            let oldest = self.waiting.pop_first();
            found.extend(oldest.and_then(|(stamp_ns, kill)| self.give_up(stamp_ns, kill)));
        }
        found
    }
}

// === impl Waiting ===

impl Waiting {
    /// When it is given up.
    fn deadline_ns(&self, expect: Expect, groups: &Groups) -> u64 {
        let invocation_ns = self.mark.as_deref().map_or(0, |mark| mark.invocation_ns);
        let group_ns = groups.read_until_ns(invocation_ns);
        let patience = match expect {
            // Without a mark it was killed for another reason, unless the mark's record was lost.
            _ if self.outside.is_some() || self.mark.is_none() => PATIENCE,
            Expect::Autopsies(patience) => patience,
            Expect::Nothing => Duration::ZERO,
        };
        self.since_ns.saturating_add(nanos(patience)).max(group_ns)
    }

    /// What there is of it, without what it waits for.
    fn give_up(self) -> Option<Kill> {
        match self {
            Self {
                mark,
                outside: Some(victim),
                ..
            } => Some(from_outside(mark.as_deref(), *victim, LATE)),
            Self {
                mark: Some(mark), ..
            } => Some(one(Some(&mark), unread(&mark, LATE))),
            Self { .. } => None,
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn from_outside(mark: Option<&Mark>, mut victim: Victim, reason: &str) -> Kill {
    victim.missing.push(reason.to_owned());
    one(mark, victim)
}

/// Whether it was not seen if the victim was sent SIGKILL. Then one that ends without having
/// been delivered any is taken for one that was exiting.
fn choice_unseen(mark: &Mark) -> bool {
    mark.invoked & (invoked::KILLED | invoked::EXITING) == 0
}

/// A kill by itself.
fn one(mark: Option<&Mark>, mut victim: Victim) -> Kill {
    victim.exiting |= mark.is_some_and(|mark| mark.invoked & invoked::EXITING != 0);
    Kill {
        stamp_ns: victim.stamp_ns,
        trigger: mark.map(|mark| Trigger {
            pid: mark.trigger_tgid,
            comm: text(&mark.trigger_comm),
        }),
        control: mark.and_then(control),
        stamps: vec![victim.stamp_ns],
        victims: vec![victim],
        end_follows: mark.is_some_and(|mark| mark.invoked & invoked::END_FOLLOWS != 0),
        ..Kill::default()
    }
}

fn unread(mark: &Mark, reason: &str) -> Victim {
    // The short layout tells the thread only; /proc tells its process.
    let pid = if mark.tgid == 0 { mark.tid } else { mark.tgid };
    Victim {
        marked: pid,
        stamp_ns: mark.stamp_ns,
        process: Process {
            pid,
            ..Process::default()
        },
        degraded: vec![format!("not read in its own context: {reason}")],
        ..Victim::default()
    }
}
