//! Joins a victim's mark, autopsy and exit. A pure state machine: records and time are its input.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use oom_agent_ebpf::{Autopsy, Environment, Exit, Mark, Record, invoked, known};
use zeroize::Zeroize as _;

use super::autopsy::{decode_name, oom_control, victim_from_autopsy};
use super::environment::{AllowedVariables, FilteredEnvironment};
use super::group::{self, Groups};
use super::process::{Process, Trigger};
use super::victims::{Kill, Reading, Victim};

/// How long a victim that the trigger has read waits for its own record, which has the command line.
const CMDLINE_WAIT: Duration = Duration::from_millis(200);

// Reasons for fields that no record has.
const KERNEL: &str = "not readable in this kernel";
const AT_EXIT: &str = "read at its exit, where this was gone already";
const LATE: &str = "its signal has not reached it in time";

/// How long a kill waits for its victim's autopsy after the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutopsyWait {
    /// The kill is reported without an autopsy when none has come in this time.
    UpTo(Duration),
    /// The kill is reported at its mark, for [`Method::Classic`](crate::probe::Method::Classic): that method makes
    /// no autopsies, and /proc must be read at once.
    None,
}

/// How long a kill is remembered after its victim's exit, so that late or duplicate records do not report it again.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Kills remembered at once, waiting ones included. Those whose victims have exited make room first.
const CAPACITY: usize = 4096;

/// Environments that wait for their autopsies, which follow at once unless they are lost.
const ENVIRONMENTS: usize = 64;

/// Makes [`Kill`]s of [`Record`]s. It does no IO and reads no clock.
///
/// Give it every record, and call [`take_overdue`](Self::take_overdue) when [`deadline_ns`](Self::deadline_ns) has
/// come: records can be lost or late, and each kill is returned exactly once all the same.
pub struct Assembler {
    page_size: u64,
    autopsy_wait: AutopsyWait,
    /// By the stamp of the mark, which is unique: the kernel kills under one lock (`oom_lock`). The pid is not, as
    /// a mark may name a thread and the exit its process.
    waiting: BTreeMap<u64, WaitingKill>,
    /// Stamps of reported kills whose victims have not exited yet. A victim that waits for a device or a server can
    /// take any time.
    reported: BTreeSet<u64>,
    /// When the victims of the other reported kills exited.
    exited: BTreeMap<u64, u64>,
    groups: Groups,
    /// Stamps of SIGKILLs that were no OOM kills.
    dismissed: Vec<u64>,
    allowed_variables: AllowedVariables,
    /// Environments without their autopsies, by the stamp of the mark.
    environments: BTreeMap<u64, FilteredEnvironment>,
}

/// A record that waits for others of its kill.
enum Part {
    Mark(Box<Mark>),
    Outside(Box<Victim>),
    Early(Box<Victim>),
}

/// The parts of a kill that have come.
#[derive(Default)]
struct WaitingKill {
    mark: Option<Box<Mark>>,
    /// What the trigger read of the victim.
    outside: Option<Box<Victim>>,
    /// What was read in the victim's own context, before its mark.
    early: Option<Box<Victim>>,
    since_ns: u64,
}

// === impl Assembler ===

impl Assembler {
    /// `page_size` is the kernel's, in bytes.
    pub fn new(page_size: u64, autopsy_wait: AutopsyWait) -> Self {
        Self {
            page_size,
            autopsy_wait,
            waiting: BTreeMap::new(),
            reported: BTreeSet::new(),
            exited: BTreeMap::new(),
            groups: Groups::default(),
            dismissed: Vec::new(),
            allowed_variables: AllowedVariables::default(),
            environments: BTreeMap::new(),
        }
    }

    /// Keeps these variables of the victims' environments.
    #[must_use]
    pub fn with_allowed_variables(self, allowed_variables: AllowedVariables) -> Self {
        Self {
            allowed_variables,
            ..self
        }
    }

    /// Does not return the kills of these stamps again: an earlier process has reported them.
    pub fn remember_reported(&mut self, stamps: impl IntoIterator<Item = u64>) {
        self.reported.extend(stamps.into_iter().take(CAPACITY / 2));
    }

    /// The stamps of SIGKILLs that were no OOM kills, since the last call.
    pub fn take_dismissed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.dismissed)
    }

    /// Accepts one record and returns the kills that it completes; `now_ns` is `CLOCK_MONOTONIC`.
    pub fn accept_record(&mut self, record: Record, now_ns: u64) -> Vec<Kill> {
        let mut kills = self.make_room(now_ns);
        kills.extend(match record {
            Record::Mark(mark) if self.autopsy_wait == AutopsyWait::None => Some(single_kill(
                Some(&mark),
                unread_victim(&mark, "the classic tracepoint does not show it"),
            )),
            Record::InvocationEnd(end) => {
                self.groups.end_invocation(*end, now_ns);
                None
            }
            Record::Mark(mark) if mark.invoked & invoked::COUNTED != 0 => {
                self.take_unreported(mark.stamp_ns).map(|_| {
                    let mut victim = unread_victim(&mark, "enough of its group were");
                    victim.reading = Reading::Counted;
                    single_kill(Some(&mark), victim)
                })
            }
            Record::Mark(mark) => {
                let stamp_ns = mark.stamp_ns;
                self.hold_part(stamp_ns, now_ns, Part::Mark(mark));
                self.join_early_autopsy(stamp_ns)
            }
            Record::Environment(environment) => {
                self.accept_environment(environment);
                None
            }
            Record::Autopsy(autopsy) if autopsy.known & known::FROM_OUTSIDE != 0 => {
                let mut victim = victim_from_autopsy(&autopsy, self.page_size);
                victim.reading = Reading::Outside;
                self.hold_part(autopsy.mark_ns, now_ns, Part::Outside(Box::new(victim)));
                None
            }
            Record::Autopsy(autopsy) if autopsy.known & known::UNCONFIRMED != 0 => {
                let mut victim = victim_from_autopsy(&autopsy, self.page_size);
                self.add_environment(&mut victim);
                victim.missing.push(KERNEL.to_owned());
                self.hold_part(autopsy.mark_ns, now_ns, Part::Early(Box::new(victim)));
                self.join_early_autopsy(autopsy.mark_ns)
            }
            Record::Autopsy(autopsy) => self.accept_autopsy(&autopsy),
            Record::Exit(exit) => self.accept_exit(&exit, now_ns),
            Record::NoVictim(_) => None,
        });
        self.fold_groups(kills, now_ns)
    }

    /// The kills that have waited long enough for their records, and the groups that are complete.
    pub fn take_overdue(&mut self, now_ns: u64) -> Vec<Kill> {
        let overdue = self.give_up_overdue(now_ns);
        let mut kills = self.fold_groups(overdue, now_ns);
        kills.extend(self.groups.take_overdue(now_ns));
        kills
    }

    /// All kills that still wait. To be called when no more records come.
    pub fn finish(&mut self) -> Vec<Kill> {
        // First the kills that wait, then the groups that they may belong to.
        let mut kills = self.take_overdue(u64::MAX);
        kills.extend(self.take_overdue(u64::MAX));
        kills
    }

    /// When [`take_overdue`](Self::take_overdue) has to be called next: `CLOCK_MONOTONIC`, in ns. `None` while
    /// nothing waits.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.waiting
            .values()
            .map(|kill| kill.deadline_ns(self.autopsy_wait, &self.groups))
            .chain(self.groups.deadline_ns())
            .min()
    }

    fn hold_part(&mut self, stamp_ns: u64, now_ns: u64, part: Part) {
        if self.is_reported(stamp_ns) {
            return;
        }
        let kill = self.waiting.entry(stamp_ns).or_insert_with(|| WaitingKill {
            since_ns: now_ns,
            ..WaitingKill::default()
        });
        match part {
            Part::Mark(part) => kill.mark = kill.mark.take().or(Some(part)),
            Part::Outside(part) => kill.outside = kill.outside.take().or(Some(part)),
            Part::Early(part) => kill.early = kill.early.take().or(Some(part)),
        }
    }

    /// The kill whose autopsy came before its mark, once both are here.
    fn join_early_autopsy(&mut self, stamp_ns: u64) -> Option<Kill> {
        let kill = self.waiting.get(&stamp_ns)?;
        if kill.mark.is_none() || kill.early.is_none() {
            return None;
        }
        let kill = self.take_unreported(stamp_ns)?;
        Some(single_kill(kill.mark.as_deref(), *kill.early?))
    }

    /// Keeps the allowed variables and overwrites the rest at once.
    fn accept_environment(&mut self, mut environment: Box<Environment>) {
        let read = (environment.read as usize).min(environment.bytes.len());
        let bytes = environment.bytes.get(..read).unwrap_or_default();
        let filtered = self
            .allowed_variables
            .filter_environment(bytes, environment.size as usize);
        environment.bytes.zeroize();
        if self.environments.len() >= ENVIRONMENTS {
            self.environments.pop_first();
        }
        self.environments.insert(environment.mark_ns, filtered);
    }

    fn add_environment(&mut self, victim: &mut Victim) {
        if let Some(filtered) = self.environments.remove(&victim.stamp_ns) {
            victim.process.environment = Some(filtered.variables);
            let cut = filtered
                .degraded
                .map(|reason| format!("environment: {reason}"));
            victim.degraded.extend(cut);
        }
    }

    /// Holds back the kills of groups and returns those that are complete.
    fn fold_groups(&mut self, mut kills: Vec<Kill>, now_ns: u64) -> Vec<Kill> {
        let victims = kills.iter_mut().flat_map(|kill| &mut kill.victims);
        for victim in victims.filter(|_| !self.allowed_variables.is_empty()) {
            if victim.process.environment.is_none() {
                let reason = "environment: not read in its own context".to_owned();
                victim.degraded.push(reason);
            }
        }
        let mut complete = Vec::new();
        for mut kill in kills {
            let control = kill.control.as_ref();
            for victim in &mut kill.victims {
                victim.group = group::find_oom_group(victim, control, self.page_size);
            }
            complete.extend(self.groups.fold_kill(kill, now_ns));
        }
        complete.extend(self.groups.take_complete());
        complete
    }

    fn accept_autopsy(&mut self, autopsy: &Autopsy) -> Option<Kill> {
        let kill = self.take_unreported(autopsy.mark_ns)?;
        let mut victim = victim_from_autopsy(autopsy, self.page_size);
        self.add_environment(&mut victim);
        if let Some(outside) = kill.outside {
            victim.fill_from(*outside);
        }
        let at_exit = autopsy.known & known::AT_EXIT != 0;
        let reason = if at_exit { AT_EXIT } else { KERNEL };
        victim.missing.push(reason.to_owned());
        victim.exiting = at_exit && kill.mark.as_deref().is_some_and(choice_unseen);
        Some(single_kill(kill.mark.as_deref(), victim))
    }

    fn accept_exit(&mut self, exit: &Exit, now_ns: u64) -> Option<Kill> {
        self.environments.remove(&exit.mark_ns);
        let kill = self.take_unreported(exit.mark_ns);
        self.reported.remove(&exit.mark_ns);
        self.exited.insert(exit.mark_ns, now_ns);
        let WaitingKill {
            mark,
            outside,
            early,
            ..
        } = kill?;
        // Only marked processes have exit records, so this is a kill even where the mark's record was lost.
        Some(match (mark, early, outside) {
            (mark, Some(victim), _) => single_kill(mark.as_deref(), *victim),
            (mark, None, Some(victim)) => outside_kill(mark.as_deref(), *victim, AT_EXIT),
            (Some(mark), None, None) => {
                let mut victim = unread_victim(&mark, "no record has come before its exit");
                victim.exiting = choice_unseen(&mark);
                single_kill(Some(&mark), victim)
            }
            (None, None, None) => single_kill(
                None,
                Victim {
                    marked_pid: exit.tgid,
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

    /// Takes a kill to report it now; `None` when it was reported before.
    fn take_unreported(&mut self, stamp_ns: u64) -> Option<WaitingKill> {
        if self.is_reported(stamp_ns) {
            return None;
        }
        self.reported.insert(stamp_ns);
        Some(self.waiting.remove(&stamp_ns).unwrap_or_default())
    }

    fn is_reported(&self, stamp_ns: u64) -> bool {
        self.reported.contains(&stamp_ns) || self.exited.contains_key(&stamp_ns)
    }

    /// The kills that have waited long enough; forgets those whose victims exited long ago.
    fn give_up_overdue(&mut self, now_ns: u64) -> Vec<Kill> {
        // Victims exit nearly in the order of their stamps, so only the oldest is looked at.
        while let Some(oldest) = self.exited.first_entry()
            && now_ns.saturating_sub(*oldest.get()) >= nanos(REMEMBERED)
        {
            oldest.remove();
        }
        let (wait, groups) = (self.autopsy_wait, &self.groups);
        let overdue: Vec<(u64, WaitingKill)> = self
            .waiting
            .extract_if(.., |_, kill| kill.deadline_ns(wait, groups) <= now_ns)
            .collect();
        overdue
            .into_iter()
            .filter_map(|(stamp_ns, kill)| {
                self.reported.insert(stamp_ns);
                self.give_up(stamp_ns, kill)
            })
            .collect()
    }

    fn give_up(&mut self, stamp_ns: u64, kill: WaitingKill) -> Option<Kill> {
        let kill = kill.give_up();
        if kill.is_none() {
            self.dismissed.push(stamp_ns);
        }
        kill
    }

    fn make_room(&mut self, now_ns: u64) -> Vec<Kill> {
        let is_full =
            |this: &Self| this.reported.len() + this.exited.len() + this.waiting.len() >= CAPACITY;
        if !is_full(self) {
            return Vec::new();
        }
        let mut kills = self.give_up_overdue(now_ns);
        let forget_oldest = |this: &mut Self| {
            this.exited.pop_first().is_some() || this.reported.pop_first().is_some()
        };
        if is_full(self) && !forget_oldest(self) {
            let oldest = self.waiting.pop_first();
            kills.extend(oldest.and_then(|(stamp_ns, kill)| self.give_up(stamp_ns, kill)));
        }
        kills
    }
}

// === impl WaitingKill ===

impl WaitingKill {
    fn deadline_ns(&self, wait: AutopsyWait, groups: &Groups) -> u64 {
        let invocation_ns = self.mark.as_deref().map_or(0, |mark| mark.invocation_ns);
        let group_ns = groups.read_until_ns(invocation_ns);
        let wait = match wait {
            // Without a mark it was killed for another reason, unless the mark's record was lost.
            _ if self.outside.is_some() || self.mark.is_none() => CMDLINE_WAIT,
            AutopsyWait::UpTo(wait) => wait,
            AutopsyWait::None => Duration::ZERO,
        };
        self.since_ns.saturating_add(nanos(wait)).max(group_ns)
    }

    /// The kill without the records it waits for; `None` where it was no OOM kill.
    fn give_up(self) -> Option<Kill> {
        match self {
            Self {
                mark,
                outside: Some(victim),
                ..
            } => Some(outside_kill(mark.as_deref(), *victim, LATE)),
            Self {
                mark: Some(mark), ..
            } => Some(single_kill(Some(&mark), unread_victim(&mark, LATE))),
            Self { .. } => None,
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn outside_kill(mark: Option<&Mark>, mut victim: Victim, reason: &str) -> Kill {
    victim.missing.push(reason.to_owned());
    single_kill(mark, victim)
}

/// Whether no program saw if the victim was sent SIGKILL. A victim that exits without a delivered signal then
/// counts as one that was exiting already.
fn choice_unseen(mark: &Mark) -> bool {
    mark.invoked & (invoked::KILLED | invoked::EXITING) == 0
}

fn single_kill(mark: Option<&Mark>, mut victim: Victim) -> Kill {
    victim.exiting |= mark.is_some_and(|mark| mark.invoked & invoked::EXITING != 0);
    Kill {
        stamp_ns: victim.stamp_ns,
        trigger: mark.map(|mark| Trigger {
            pid: mark.trigger_tgid,
            comm: decode_name(&mark.trigger_comm),
        }),
        control: mark.and_then(oom_control),
        stamps: vec![victim.stamp_ns],
        victims: vec![victim],
        end_follows: mark.is_some_and(|mark| mark.invoked & invoked::END_FOLLOWS != 0),
        ..Kill::default()
    }
}

fn unread_victim(mark: &Mark, reason: &str) -> Victim {
    // The short layout of the tracepoint has the thread only; /proc has its process.
    let pid = if mark.tgid == 0 { mark.tid } else { mark.tgid };
    Victim {
        marked_pid: pid,
        stamp_ns: mark.stamp_ns,
        process: Process {
            pid,
            ..Process::default()
        },
        degraded: vec![format!("not read in its own context: {reason}")],
        ..Victim::default()
    }
}
