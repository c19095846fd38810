//! Properties of the ledger: every kill is counted.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::draft::{self, Draft};
use super::event::NamespacedName;
use super::fake::incident;
use super::ledger::{Admission, Ledger};

fn draft(pod: u8, container: u8, n: usize) -> Draft {
    let mut incident = incident();
    incident.id = format!("i-{n}");
    incident.victims[0].pod.as_mut().unwrap().uid = Some(format!("pod-{pod}"));
    incident.victims[0].container.as_mut().unwrap().name = Some(format!("c-{container}"));
    draft::draft_events(&incident.into(), true).remove(0)
}

fn event(draft: &Draft) -> NamespacedName {
    NamespacedName {
        namespace: "shop".to_owned(),
        name: draft.report.id().to_owned(),
    }
}

proptest! {
    /// Every kill has an Event, or its object's next Event counts it; and a series counts only kills of its
    /// own key, since its Event.
    #[test]
    fn every_kill_is_reported_or_counted(kills in proptest::collection::vec((0_u8..3, 0_u8..2, 0_u64..40), 1..300)) {
        let (mut ledger, mut now) = (Ledger::default(), Instant::now());
        let mut uncounted = [0_u64; 3];
        let mut series: [Option<(String, u8, i32)>; 3] = [const { None }; 3];
        for (n, (pod, container, step)) in kills.into_iter().enumerate() {
            now += Duration::from_secs(step);
            let draft = draft(pod, container, n);
            let at = usize::from(pod);
            match ledger.admit(&draft, now) {
                Admission::Write { held_back } => {
                    prop_assert_eq!(held_back, std::mem::take(&mut uncounted[at]));
                    ledger.record_written(&draft, event(&draft));
                    series[at] = Some((draft.report.id().to_owned(), container, 1));
                }
                Admission::Repeat { update } => {
                    uncounted[at] += 1;
                    let (id, key, count) = series[at].as_mut().unwrap();
                    prop_assert_eq!(*key, container);
                    *count += 1;
                    if update.is_some() {
                        let Some(updated) = ledger.repeated_series(&draft.object_key()) else {
                            return Err(TestCaseError::fail("a repeat without a series"));
                        };
                        let event = updated.event.as_ref().unwrap();
                        prop_assert_eq!((&event.name, updated.count), (&*id, *count));
                        prop_assert!(updated.count >= 2);
                        ledger.record_updated(&draft.object_key(), now);
                    }
                }
                Admission::HoldBack => {
                    uncounted[at] += 1;
                    prop_assert!(series[at].as_ref().is_none_or(|(_, key, _)| *key != container));
                }
            }
        }
    }
}

/// An object whose bucket is empty, with an Event of `draft(0, 0, 24)`.
fn ledger_without_tokens(now: Instant) -> Ledger {
    let mut ledger = Ledger::default();
    for n in 0..25 {
        let draft = draft(0, 0, n);
        assert_eq!(ledger.admit(&draft, now), Admission::Write { held_back: 0 });
        ledger.record_written(&draft, event(&draft));
    }
    ledger
}

#[test]
fn a_series_is_updated_every_ten_seconds_at_most() {
    let now = Instant::now();
    let mut ledger = ledger_without_tokens(now);
    let second = Duration::from_secs(1);
    let repeat = draft(0, 0, 99);
    let admission = ledger.admit(&repeat, now);
    assert_eq!(admission, Admission::Repeat { update: Some(now) });
    assert_eq!(
        ledger.admit(&repeat, now),
        Admission::Repeat { update: None }
    );
    ledger.record_updated(&repeat.object_key(), now);
    assert_eq!(
        ledger.admit(&repeat, now + second),
        Admission::Repeat {
            update: Some(now + 10 * second)
        }
    );
}

#[test]
fn a_kill_with_another_key_is_no_repeat() {
    let now = Instant::now();
    let mut ledger = ledger_without_tokens(now);
    assert_eq!(ledger.admit(&draft(0, 1, 99), now), Admission::HoldBack);
    // Pids, sizes and times are not part of the key.
    let mut same = incident();
    same.victims[0].pid = 7;
    same.victims[0].rss_bytes = None;
    same.victims[0].pod.as_mut().unwrap().uid = Some("pod-0".to_owned());
    same.victims[0].container.as_mut().unwrap().name = Some("c-0".to_owned());
    let same = draft::draft_events(&same.into(), true).remove(0);
    assert!(matches!(ledger.admit(&same, now), Admission::Repeat { .. }));
}

#[test]
fn an_update_waits_until_its_event_is_written_or_given_up() {
    let now = Instant::now();
    let mut ledger = ledger_without_tokens(now);
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
    let series = ledger.repeated_series(&pending.object_key()).unwrap();
    assert!(series.event.is_none());
    ledger.record_given_up(&pending);
    assert!(ledger.repeated_series(&pending.object_key()).is_none());
}

#[test]
fn kills_of_an_event_that_was_given_up_are_counted_by_the_next() {
    let now = Instant::now();
    let mut ledger = ledger_without_tokens(now);
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
    ledger.record_given_up(&lost);
    let next = ledger.admit(&draft(0, 0, 52), later + Duration::from_mins(5));
    // The one that was held back, and the one that was given up.
    assert_eq!(next, Admission::Write { held_back: 2 });
}

#[test]
fn the_memory_of_objects_is_bounded() {
    let mut ledger = Ledger::default();
    let now = Instant::now();
    for n in 0..3000_u32 {
        let mut incident = incident();
        incident.victims[0].pod.as_mut().unwrap().uid = Some(n.to_string());
        let draft = draft::draft_events(&incident.into(), true).remove(0);
        ledger.admit(&draft, now + Duration::from_millis(n.into()));
    }
    assert_eq!(ledger.len(), 1024);
}
