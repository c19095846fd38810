//! Whatever is killed, and whatever a runtime says of it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::tests::{incident, killed_at, status, victim};
use super::{Judgement, MismatchKind, Status, Watch};
use crate::incident::Scope;

/// A runtime's word on one of four containers: any reason, running or ended somewhen.
fn words() -> impl Strategy<Value = Vec<Status>> {
    let reason = prop_oneof![Just("OOMKilled"), Just("Error"), Just("")];
    let exit = proptest::option::of((prop_oneof![Just(0), Just(137), Just(143)], -30_i64..30));
    proptest::collection::vec((0_u8..4, reason, exit), 0..5).prop_map(|words| {
        let mut seen = HashSet::new();
        let words = words.into_iter();
        words
            .filter(|(n, ..)| seen.insert(*n))
            .map(|(n, reason, exit)| status(&format!("c{n}"), reason, exit))
            .collect()
    })
}

proptest! {
    /// Each struck container is judged once; missed are only struck ones, and never while they are called
    /// killed at their end; a phantom is nobody who was struck and ended by it.
    #[test]
    fn every_kill_has_one_judgement_and_nobody_is_accused_wrongly(
        kills in proptest::collection::vec((0_u8..4, 1_u32..3, 0_u64..6), 1..40),
        said in proptest::collection::vec(words(), 1..20),
    ) {
        let since = killed_at() - SignedDuration::from_hours(1);
        let (mut watch, mut now) = (Watch::new(since), Instant::now());
        let (mut struck, mut said) = (HashSet::new(), said.iter().cycle());
        let (mut taken, mut judged) = (0, 0);
        let mut look = |watch: &mut Watch, now: Instant, struck: &HashSet<String>| {
            while let Some(check) = watch.due(now) {
                let words = said.next().unwrap();
                for judgement in watch.judge(check, Ok(words), now, Timestamp::now()) {
                    let Judgement::Differs(mismatch) = judgement else {
                        judged += u64::from(!matches!(judgement, Judgement::Undecided(super::UndecidedReason::Unwatched)));
                        continue;
                    };
                    let status = &mismatch.status;
                    let was_struck = mismatch.victims().next().is_some();
                    judged += u64::from(was_struck);
                    match mismatch.verdict {
                        MismatchKind::Missed => prop_assert!(was_struck && !(status.is_oom_killed() && status.finished.is_some())),
                        MismatchKind::Phantom if was_struck => prop_assert!(matches!(status.exit_code, 0 | 143)),
                        MismatchKind::Phantom => prop_assert!(!struck.contains(&status.container.id)),
                    }
                }
            }
            Ok(())
        };
        for (n, namespace_pid, step) in kills {
            now += Duration::from_secs(step);
            look(&mut watch, now, &struck)?;
            let kill = incident(vec![victim(&format!("c{n}"), namespace_pid)], Scope::Pod);
            struck.insert(format!("c{n}").repeat(16));
            prop_assert_eq!(watch.take(&kill, now), 0);
            taken += 1;
        }
        while let Some(next) = watch.next() {
            now = now.max(next);
            look(&mut watch, now, &struck)?;
        }
        prop_assert_eq!((judged, watch.open()), (taken, 0));
    }

    /// However many containers are struck: whoever was forgotten is not accused.
    #[test]
    fn the_forgotten_are_not_accused(others in 1020_u32..1030) {
        let mut watch = Watch::new(killed_at() - SignedDuration::from_hours(1));
        let start = Instant::now();
        watch.take(&incident(vec![victim("c0", 7)], Scope::Container), start);
        for n in 1..=others {
            watch.take(&incident(vec![victim(&format!("c{n}"), 7)], Scope::Container), start);
        }
        let both = [status("c0", "OOMKilled", None), status("main", "OOMKilled", None)];
        while watch.due(start + Duration::from_mins(1)).is_some() {}
        watch.take(&incident(vec![victim("main", 7)], Scope::Pod), start);
        for passed in [2, 10] {
            let now = start + Duration::from_secs(passed);
            let check = watch.due(now).unwrap();
            for judgement in watch.judge(check, Ok(&both), now, Timestamp::now()) {
                if let Judgement::Differs(mismatch) = judgement {
                    prop_assert_eq!(mismatch.verdict, MismatchKind::Missed);
                }
            }
        }
    }
}
