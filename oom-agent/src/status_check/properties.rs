//! Any kills, with any statuses.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::tests::{incident, killed_at, status, victim};
use super::{Judgement, MismatchKind, PendingChecks, Status};
use crate::incident::Scope;

/// Statuses of four containers: any reason, running, or ended at any time.
fn any_statuses() -> impl Strategy<Value = Vec<Status>> {
    let reason = prop_oneof![Just("OOMKilled"), Just("Error"), Just("")];
    let exit = proptest::option::of((prop_oneof![Just(0), Just(137), Just(143)], -30_i64..30));
    proptest::collection::vec((0_u8..4, reason, exit), 0..5).prop_map(|statuses| {
        let mut seen = HashSet::new();
        statuses
            .into_iter()
            .filter(|(n, ..)| seen.insert(*n))
            .map(|(n, reason, exit)| status(&format!("c{n}"), reason, exit))
            .collect()
    })
}

proptest! {
    /// Each container with a victim is judged once. Only such a container is missed, and never while its end
    /// is reported as an OOM kill; no phantom has ended by a kill.
    #[test]
    fn every_kill_has_one_judgement_and_no_container_a_wrong_one(
        kills in proptest::collection::vec((0_u8..4, 1_u32..3, 0_u64..6), 1..40),
        answers in proptest::collection::vec(any_statuses(), 1..20),
    ) {
        let since = killed_at() - SignedDuration::from_hours(1);
        let (mut pending, mut now) = (PendingChecks::new(since), Instant::now());
        let (mut killed, mut answers) = (HashSet::new(), answers.iter().cycle());
        let (mut added, mut judged) = (0, 0);
        let mut judge_due = |pending: &mut PendingChecks, now: Instant, killed: &HashSet<String>| {
            while let Some(check) = pending.pop_due(now) {
                let statuses = answers.next().unwrap();
                for judgement in pending.judge(check, Ok(statuses), now, Timestamp::now()) {
                    let Judgement::Differs(mismatch) = judgement else {
                        judged += u64::from(!matches!(judgement, Judgement::Undecided(super::UndecidedReason::Unwatched)));
                        continue;
                    };
                    let status = &mismatch.status;
                    let was_killed = mismatch.victims().next().is_some();
                    judged += u64::from(was_killed);
                    match mismatch.verdict {
                        MismatchKind::Missed => prop_assert!(was_killed && !(status.is_oom_killed() && status.finished.is_some())),
                        MismatchKind::Phantom if was_killed => prop_assert!(matches!(status.exit_code, 0 | 143)),
                        MismatchKind::Phantom => prop_assert!(!killed.contains(&status.container.id)),
                    }
                }
            }
            Ok(())
        };
        for (n, namespace_pid, step) in kills {
            now += Duration::from_secs(step);
            judge_due(&mut pending, now, &killed)?;
            let kill = incident(vec![victim(&format!("c{n}"), namespace_pid)], Scope::Pod);
            killed.insert(format!("c{n}").repeat(16));
            prop_assert_eq!(pending.add_incident(&kill, now), 0);
            added += 1;
        }
        while let Some(next) = pending.next_due() {
            now = now.max(next);
            judge_due(&mut pending, now, &killed)?;
        }
        prop_assert_eq!((judged, pending.count_open()), (added, 0));
    }

    /// A container that was forgotten among many is no phantom.
    #[test]
    fn a_forgotten_container_is_no_phantom(others in 1020_u32..1030) {
        let mut pending = PendingChecks::new(killed_at() - SignedDuration::from_hours(1));
        let start = Instant::now();
        pending.add_incident(&incident(vec![victim("c0", 7)], Scope::Container), start);
        for n in 1..=others {
            pending.add_incident(&incident(vec![victim(&format!("c{n}"), 7)], Scope::Container), start);
        }
        let both = [status("c0", "OOMKilled", None), status("main", "OOMKilled", None)];
        while pending.pop_due(start + Duration::from_mins(1)).is_some() {}
        pending.add_incident(&incident(vec![victim("main", 7)], Scope::Pod), start);
        for passed in [2, 10] {
            let now = start + Duration::from_secs(passed);
            let check = pending.pop_due(now).unwrap();
            for judgement in pending.judge(check, Ok(&both), now, Timestamp::now()) {
                if let Judgement::Differs(mismatch) = judgement {
                    prop_assert_eq!(mismatch.verdict, MismatchKind::Missed);
                }
            }
        }
    }
}
