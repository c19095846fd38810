//! Whatever is killed, and whenever: nothing goes uncounted.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::draft::{self, Draft};
use super::event::Place;
use super::fake::incident;
use super::ledger::{Admission, Ledger, Update};

fn draft(pod: u8, container: u8, n: usize) -> Draft {
    let mut incident = incident();
    incident.id = format!("i-{n}");
    incident.victims[0].pod.as_mut().unwrap().uid = Some(format!("pod-{pod}"));
    incident.victims[0].container.as_mut().unwrap().name = Some(format!("c-{container}"));
    draft::drafts(&incident.into(), true).remove(0)
}

fn place(draft: &Draft) -> Place {
    Place {
        namespace: "shop".to_owned(),
        name: draft.report.id().to_owned(),
    }
}

proptest! {
    /// Every kill has an Event, or is told by the next Event of its object or still owed to it; and a series
    /// counts kills of its own story only, since its Event.
    #[test]
    fn every_kill_is_told(kills in proptest::collection::vec((0_u8..3, 0_u8..2, 0_u64..40), 1..300)) {
        let (mut ledger, mut now) = (Ledger::default(), Instant::now());
        let mut owed = [0_u64; 3];
        let mut series: [Option<(String, u8, i32)>; 3] = [const { None }; 3];
        for (n, (pod, container, step)) in kills.into_iter().enumerate() {
            now += Duration::from_secs(step);
            let draft = draft(pod, container, n);
            let at = usize::from(pod);
            match ledger.admit(&draft, now) {
                Admission::Write { held_back } => {
                    prop_assert_eq!(held_back, std::mem::take(&mut owed[at]));
                    ledger.written(&draft, place(&draft));
                    series[at] = Some((draft.report.id().to_owned(), container, 1));
                }
                Admission::Repeat { update } => {
                    owed[at] += 1;
                    let (id, of, count) = series[at].as_mut().unwrap();
                    prop_assert_eq!(*of, container);
                    *count += 1;
                    if update.is_some() {
                        let Update::Patch { place, count: told, .. } = ledger.update(&draft.object()) else {
                            return Err(TestCaseError::fail("a repeat without a series"));
                        };
                        prop_assert_eq!((&place.name, told), (&*id, *count));
                        prop_assert!(told >= 2);
                        ledger.updated(&draft.object(), now);
                    }
                }
                Admission::HoldBack => {
                    owed[at] += 1;
                    prop_assert!(series[at].as_ref().is_none_or(|(_, of, _)| *of != container));
                }
            }
        }
    }
}

/// An object whose bucket is empty, with an Event of `draft(0, 0, 24)`.
fn spent(now: Instant) -> Ledger {
    let mut ledger = Ledger::default();
    for n in 0..25 {
        let draft = draft(0, 0, n);
        assert_eq!(ledger.admit(&draft, now), Admission::Write { held_back: 0 });
        ledger.written(&draft, place(&draft));
    }
    ledger
}

#[test]
fn a_series_is_brought_up_to_date_every_ten_seconds_at_most() {
    let now = Instant::now();
    let mut ledger = spent(now);
    let second = Duration::from_secs(1);
    let repeat = draft(0, 0, 99);
    let verdict = ledger.admit(&repeat, now);
    assert_eq!(verdict, Admission::Repeat { update: Some(now) });
    assert_eq!(
        ledger.admit(&repeat, now),
        Admission::Repeat { update: None }
    );
    ledger.updated(&repeat.object(), now);
    assert_eq!(
        ledger.admit(&repeat, now + second),
        Admission::Repeat {
            update: Some(now + 10 * second)
        }
    );
}

#[test]
fn another_story_is_no_repeat() {
    let now = Instant::now();
    let mut ledger = spent(now);
    assert_eq!(ledger.admit(&draft(0, 1, 99), now), Admission::HoldBack);
    // Pids, sizes and times make no other story.
    let mut same = incident();
    same.victims[0].pid = 7;
    same.victims[0].rss_bytes = None;
    same.victims[0].pod.as_mut().unwrap().uid = Some("pod-0".to_owned());
    same.victims[0].container.as_mut().unwrap().name = Some("c-0".to_owned());
    let same = draft::drafts(&same.into(), true).remove(0);
    assert!(matches!(ledger.admit(&same, now), Admission::Repeat { .. }));
}

#[test]
fn an_update_waits_for_its_event_and_ends_with_it() {
    let now = Instant::now();
    let mut ledger = spent(now);
    let later = now + Duration::from_mins(5);
    let pending = draft(0, 0, 50);
    assert_eq!(
        ledger.admit(&pending, later),
        Admission::Write { held_back: 0 }
    );
    assert!(matches!(
        ledger.admit(&draft(0, 0, 51), later),
        Admission::Repeat { .. }
    ));
    assert!(matches!(ledger.update(&pending.object()), Update::Early));
    ledger.given_up(&pending);
    assert!(matches!(ledger.update(&pending.object()), Update::Gone));
}

#[test]
fn what_an_event_that_never_was_would_have_told_is_told_by_the_next() {
    let now = Instant::now();
    let mut ledger = spent(now);
    assert!(matches!(
        ledger.admit(&draft(0, 0, 50), now),
        Admission::Repeat { .. }
    ));
    let mut lost = draft(0, 0, 51);
    let later = now + Duration::from_mins(5);
    let Admission::Write { held_back: 1 } = ledger.admit(&lost, later) else {
        panic!("a token was refilled");
    };
    lost.held_back = 1;
    ledger.given_up(&lost);
    let next = ledger.admit(&draft(0, 0, 52), later + Duration::from_mins(5));
    // The one that was held back, and the one that was lost.
    assert_eq!(next, Admission::Write { held_back: 2 });
}

#[test]
fn the_memory_of_objects_is_bounded() {
    let mut ledger = Ledger::default();
    let now = Instant::now();
    for n in 0..3000_u32 {
        let mut incident = incident();
        incident.victims[0].pod.as_mut().unwrap().uid = Some(n.to_string());
        let draft = draft::drafts(&incident.into(), true).remove(0);
        ledger.admit(&draft, now + Duration::from_millis(n.into()));
    }
    assert_eq!(ledger.len(), 1024);
}
