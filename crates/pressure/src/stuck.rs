//! Whether a cgroup is out of memory and the kernel kills no process in it. Pure.

use memcg::parse_keyed;

/// It must last this long: a victim takes a while to end, and an administrator who turned killing off may
/// step in.
const LASTS_NS: u64 = 5_000_000_000;

/// In parts of the limit: a cgroup that uses less is not out of memory.
const NEAR: (u128, u128) = (15, 16);

/// Why the kernel kills no process of a cgroup that is out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoVictimCause {
    /// All processes have an `oom_score_adj` of -1000, or there is none.
    NoKillableProcess,
    /// cgroup v1: `oom_kill_disable` is 1, and processes wait.
    OomKillDisabled,
}

/// What the files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OomState {
    /// `memory.oom_control`: killing is off, and processes wait.
    Disabled(bool),
    /// How often the cgroup was out of memory, and how many processes were killed in it and below.
    Counts { oom: u64, oom_kill: u64 },
}

/// The detector of one cgroup.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StuckDetector {
    counts: Option<(u64, u64)>,
    since_ns: Option<u64>,
}

// === impl NoVictimCause ===

impl NoVictimCause {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::NoKillableProcess, Self::OomKillDisabled];

    /// For metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoKillableProcess => "no-killable-process",
            Self::OomKillDisabled => "oom-kill-disabled",
        }
    }
}

// === impl StuckDetector ===

impl StuckDetector {
    /// Takes the state at that time, `None` where it is not near its limit. Gives why no process is killed.
    pub(super) fn update(&mut self, state: Option<OomState>, now_ns: u64) -> Option<NoVictimCause> {
        let cause = match state {
            Some(OomState::Disabled(true)) => Some(NoVictimCause::OomKillDisabled),
            Some(OomState::Counts { oom, oom_kill }) => {
                let before = self.counts.replace((oom, oom_kill));
                let is_stuck = before.is_some_and(|(ooms, kills)| oom > ooms && oom_kill == kills);
                is_stuck.then_some(NoVictimCause::NoKillableProcess)
            }
            Some(OomState::Disabled(false)) | None => None,
        };
        let Some(cause) = cause else {
            self.since_ns = None;
            return None;
        };
        let since_ns = *self.since_ns.get_or_insert(now_ns);
        (now_ns.saturating_sub(since_ns) >= LASTS_NS).then_some(cause)
    }
}

pub(super) fn is_near(current: u64, limit: u64) -> bool {
    u128::from(current) * NEAR.1 >= u128::from(limit) * NEAR.0
}

/// `memory.oom_control` of cgroup v1.
pub(super) fn parse_oom_control(text: &str) -> Option<OomState> {
    let is_set = |key| Some(parse_keyed(text, key)? == 1);
    Some(OomState::Disabled(
        is_set("oom_kill_disable")? && is_set("under_oom")?,
    ))
}

/// `memory.events.local` and `memory.events` of cgroup v2.
pub(super) fn parse_events(local: &str, all: &str) -> Option<OomState> {
    Some(OomState::Counts {
        oom: parse_keyed(local, "oom")?,
        oom_kill: parse_keyed(all, "oom_kill")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn counted(oom: u64, oom_kill: u64) -> Option<OomState> {
        let local = format!("low 0\nhigh 0\nmax 9\noom {oom}\noom_kill 0\noom_group_kill 0\n");
        let all = format!("low 0\nhigh 0\nmax 9\noom 0\noom_kill {oom_kill}\n");
        parse_events(&local, &all)
    }

    #[test]
    fn a_cgroup_with_killing_disabled_is_stuck_after_a_while() {
        let control = |disable: u8, under: u8| {
            parse_oom_control(&format!(
                "oom_kill_disable {disable}\nunder_oom {under}\noom_kill 3\n"
            ))
        };
        let mut stuck = StuckDetector::default();
        for second in 0..5 {
            assert_eq!(stuck.update(control(1, 1), second * SECOND), None);
        }
        assert_eq!(
            stuck.update(control(1, 1), 5 * SECOND),
            Some(NoVictimCause::OomKillDisabled)
        );
        for state in [control(1, 0), control(0, 1), None] {
            assert_eq!(stuck.update(state, 6 * SECOND), None);
            assert_eq!(
                stuck.update(control(1, 1), 7 * SECOND),
                None,
                "it begins anew"
            );
        }
        assert_eq!(parse_oom_control("under_oom 1\n"), None);
    }

    #[test]
    fn an_oom_after_another_without_a_kill_has_no_victim() {
        let mut stuck = StuckDetector::default();
        for second in 0..=5 {
            assert_eq!(
                stuck.update(counted(second * 1000, 7), second * SECOND),
                None
            );
        }
        let cause = stuck.update(counted(6000, 7), 6 * SECOND);
        assert_eq!(cause, Some(NoVictimCause::NoKillableProcess));
        // A kill, or no more of them.
        assert_eq!(stuck.update(counted(7000, 8), 7 * SECOND), None);
        assert_eq!(stuck.update(counted(8000, 8), 20 * SECOND), None);
        assert_eq!(stuck.update(counted(8000, 8), 40 * SECOND), None);
    }

    #[test]
    fn near_is_in_parts_of_the_limit() {
        assert!(is_near(15, 16) && is_near(u64::MAX, u64::MAX) && !is_near(14, 16));
    }
}
