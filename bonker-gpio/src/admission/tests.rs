use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use strum::VariantArray as _;
use wildmatch::WildMatch;

use super::answer::{Answer, Outcome};
use super::filter::Filter;
use super::moment::Moment;
use super::quiet::{Hours, QuietHours};
use super::rate::PeerRate;
use super::settings::{MAX_SNOOZE, Settings};
use super::{Admission, Next, REMEMBERED};
use crate::bonk::{Bonk, Malformed, Severity};
use crate::history::Restored;

const START: &str = "2026-06-01T12:00:00Z";

fn at(seconds: u64) -> Moment {
    let up = Duration::from_secs(seconds);
    let start: Timestamp = START.parse().unwrap();
    Moment {
        wall: start + up,
        up,
    }
}

fn bonk(id: &str, pod: &str) -> Bonk {
    Bonk {
        id: id.to_owned(),
        pod: pod.to_owned(),
        ..Bonk::default()
    }
}

fn outcome(admission: &mut Admission, bonk: Bonk, now: Moment) -> Outcome {
    admission.submit(Ok(bonk), None, now).outcome
}

/// The ids of all that swings at `now`, with how many others, the arm taking no time.
fn swings(admission: &mut Admission, now: Moment) -> Vec<(String, u64)> {
    let mut swings = Vec::new();
    while let Next::Swing(job) = admission.next(now) {
        swings.push((job.bonk.id, job.coalesced));
        admission.finish_swing(now);
    }
    swings
}

#[test]
fn each_outcome_has_its_reason() {
    use Outcome::{Accepted, Coalesced, Duplicate, Expired, Full, Quiet, RateLimited, Rejected};
    let mut admission = Admission::new(Settings {
        queue: 1,
        min_severity: Severity::Critical,
        filter: Filter {
            deny_namespaces: vec![WildMatch::new("kube-*")],
            ..Filter::default()
        },
        peer_rate: PeerRate {
            per_minute: 1,
            burst: 1,
        },
        ..Settings::default()
    });
    let peer: Option<IpAddr> = Some("192.0.2.1".parse().unwrap());
    let now = at(600);
    let malformed = admission.submit(Err(Malformed::NoItem), peer, now);
    assert_eq!(malformed.outcome, Rejected);
    assert_eq!(
        admission.submit(Ok(bonk("a", "a")), peer, now).outcome,
        Accepted
    );
    assert_eq!(
        admission.submit(Ok(bonk("b", "b")), peer, now).outcome,
        RateLimited
    );
    // A duplicate needs no token.
    let again = admission.submit(Ok(bonk("a", "a")), peer, now);
    assert_eq!((again.outcome, again.first), (Duplicate, Some(Accepted)));
    assert_eq!(outcome(&mut admission, bonk("c", "a"), now), Coalesced);
    assert_eq!(outcome(&mut admission, bonk("d", "d"), now), Full);
    let denied = Bonk {
        namespace: "kube-system".to_owned(),
        ..bonk("e", "e")
    };
    assert_eq!(outcome(&mut admission, denied, now), Rejected);
    let old = Bonk {
        time: Some(at(0).wall),
        ..bonk("f", "f")
    };
    assert_eq!(outcome(&mut admission, old, now), Expired);
    let mild = Bonk {
        severity: Severity::Warning,
        ..bonk("g", "g")
    };
    assert_eq!(outcome(&mut admission, mild, now), Quiet);
    // A dropped item may be sent again; a decided one is a duplicate.
    assert_eq!(swings(&mut admission, now), [("a".to_owned(), 1)]);
    for (id, expect) in [("b", Accepted), ("d", Full), ("e", Full), ("f", Duplicate)] {
        assert_eq!(outcome(&mut admission, bonk(id, id), now), expect, "{id}");
    }
    for (id, first) in [("c", Coalesced), ("f", Expired), ("g", Quiet)] {
        let answer = admission.submit(Ok(bonk(id, id)), None, now);
        assert_eq!(answer, Answer::duplicate(first), "{id}");
    }
    assert_eq!(admission.stop(), 1);
    assert_eq!(outcome(&mut admission, bonk("h", "h"), now), Rejected);
    let tally = admission.tally();
    let counts = Outcome::VARIANTS
        .iter()
        .map(|outcome| tally.count(*outcome));
    assert!(counts.eq([2, 1, 5, 1, 1, 1, 3, 3]));
}

#[test]
fn a_place_swings_once_within_its_window() {
    let mut admission = Admission::new(Settings::default());
    let mut send = |id: &str, severity, seconds| {
        let bonk = Bonk {
            severity,
            ..bonk(id, "pod")
        };
        let answer = outcome(&mut admission, bonk, at(seconds));
        (answer, swings(&mut admission, at(seconds)).len())
    };
    let kill = Severity::Kill;
    assert_eq!(send("a", kill, 0), (Outcome::Accepted, 1));
    assert_eq!(send("b", kill, 9), (Outcome::Coalesced, 0));
    assert_eq!(send("c", Severity::Warning, 9), (Outcome::Coalesced, 0));
    assert_eq!(
        send("d", Severity::Node, 9),
        (Outcome::Accepted, 1),
        "worse"
    );
    assert_eq!(send("e", kill, 10), (Outcome::Coalesced, 0));
    assert_eq!(send("f", kill, 19), (Outcome::Accepted, 1), "over");
}

#[test]
fn the_worst_of_those_that_wait_is_swung_for() {
    let mut admission = Admission::new(Settings::default());
    for (id, severity) in [
        ("a", Severity::Warning),
        ("b", Severity::Node),
        ("c", Severity::Kill),
    ] {
        let bonk = Bonk {
            severity,
            ..bonk(id, "pod")
        };
        outcome(&mut admission, bonk, at(0));
    }
    outcome(&mut admission, bonk("other", "other"), at(0));
    let expect = [("b".to_owned(), 2), ("other".to_owned(), 0)];
    assert_eq!(swings(&mut admission, at(0)), expect);
}

#[test]
fn strangers_do_not_coalesce_nor_does_anybody_without_a_window() {
    let mut admission = Admission::new(Settings::default());
    for id in ["a", "b"] {
        assert_eq!(
            outcome(&mut admission, bonk(id, ""), at(0)),
            Outcome::Accepted
        );
    }
    let mut admission = Admission::new(Settings {
        window: Duration::ZERO,
        ..Settings::default()
    });
    for id in ["a", "b"] {
        assert_eq!(
            outcome(&mut admission, bonk(id, "pod"), at(0)),
            Outcome::Accepted
        );
    }
}

#[test]
fn a_waiting_bonk_expires_by_its_own_time() {
    let mut admission = Admission::new(Settings::default());
    let mut send = |id: &str, time: Option<u64>| {
        let bonk = Bonk {
            time: time.map(|time| at(time).wall),
            ..bonk(id, id)
        };
        outcome(&mut admission, bonk, at(1000))
    };
    assert_eq!(send("old", Some(701)), Outcome::Accepted);
    assert_eq!(send("too old", Some(700)), Outcome::Expired);
    assert_eq!(send("future", Some(5000)), Outcome::Accepted);
    assert_eq!(send("never", None), Outcome::Accepted);
    assert_eq!(send("fresh", Some(900)), Outcome::Accepted);
    // The clock was set back meanwhile; it is not used again.
    let set = Moment {
        wall: at(0).wall,
        ..at(1250)
    };
    let left = swings(&mut admission, set);
    let left: Vec<&str> = left.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(left, ["future", "never"]);
    assert_eq!(admission.tally().expired_waiting, 2);
}

#[test]
fn a_full_queue_makes_room_of_what_expired() {
    let mut admission = Admission::new(Settings {
        queue: 1,
        ..Settings::default()
    });
    assert_eq!(
        outcome(&mut admission, bonk("a", "a"), at(0)),
        Outcome::Accepted
    );
    assert_eq!(
        outcome(&mut admission, bonk("b", "b"), at(299)),
        Outcome::Full
    );
    assert_eq!(
        outcome(&mut admission, bonk("b", "b"), at(300)),
        Outcome::Accepted
    );
    assert_eq!(admission.tally().expired_waiting, 1);
}

#[test]
fn the_arm_waits_for_the_end_of_its_pause() {
    let mut admission = Admission::new(Settings {
        cooldown: Duration::from_secs(30),
        ..Settings::default()
    });
    assert_eq!(admission.next(at(0)), Next::Idle);
    outcome(&mut admission, bonk("a", "a"), at(0));
    outcome(&mut admission, bonk("b", "b"), at(0));
    assert!(matches!(admission.next(at(0)), Next::Swing(_)));
    assert_eq!(admission.next(at(1)), Next::Idle, "one swing at a time");
    admission.finish_swing(at(2));
    assert_eq!(
        admission.next(at(2)),
        Next::WaitUntil(Duration::from_secs(32))
    );
    assert!(matches!(admission.next(at(32)), Next::Swing(_)));
}

#[test]
fn a_snooze_ends_by_itself_by_hand_and_when_the_clock_jumps() {
    let mut admission = Admission::new(Settings::default());
    outcome(&mut admission, bonk("waits", "waits"), at(0));
    let until = admission.snooze(Duration::from_mins(1), at(0));
    assert_eq!(until, Some(at(60).wall));
    assert_eq!(swings(&mut admission, at(1)), []);
    assert_eq!(admission.tally().quiet_waiting, 1);
    assert_eq!(
        outcome(&mut admission, bonk("a", "a"), at(59)),
        Outcome::Quiet
    );
    assert_eq!(
        outcome(&mut admission, bonk("b", "b"), at(60)),
        Outcome::Accepted
    );
    admission.snooze(Duration::from_mins(1), at(60));
    assert_eq!(admission.snooze(Duration::ZERO, at(61)), None);
    assert_eq!(
        outcome(&mut admission, bonk("c", "c"), at(61)),
        Outcome::Accepted
    );
    let most = admission.snooze(Duration::MAX, at(61));
    assert_eq!(most, Some(at(61).wall + MAX_SNOOZE));
    let mut after = Admission::new(Settings::default());
    after.restore(Restored {
        answers: vec![
            ("a".to_owned(), "QUIET".to_owned()),
            ("x".to_owned(), "NOVEL".to_owned()),
        ],
        snoozed: most,
    });
    assert_eq!(after.snoozed_until(at(100)), most);
    assert_eq!(after.snoozed_until(at(0)), None, "the clock was set back");
    let again = after.submit(Ok(bonk("a", "a")), None, at(100));
    assert_eq!(again, Answer::duplicate(Outcome::Quiet));
    assert_eq!(outcome(&mut after, bonk("x", "x"), at(100)), Outcome::Quiet);
}

#[derive(Clone, Debug)]
enum Act {
    Submit {
        id: u8,
        pod: u8,
        namespace: u8,
        severity: Severity,
        age: i64,
        peer: u8,
    },
    Malformed,
    /// The arm takes a job, and is back so much later.
    TakeJob(u64),
    Snooze(u64),
    Pass(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let severity = prop_oneof![
        Just(Severity::Warning),
        Just(Severity::Kill),
        Just(Severity::Node)
    ];
    let submit = (0..40_u8, 0..5_u8, 0..3_u8, severity, -100..600_i64, 0..2_u8);
    let submit = submit.prop_map(|(id, pod, namespace, severity, age, peer)| Act::Submit {
        id,
        pod,
        namespace,
        severity,
        age,
        peer,
    });
    let act = prop_oneof![
        8 => submit,
        1 => Just(Act::Malformed),
        6 => (0..3_u64).prop_map(Act::TakeJob),
        1 => (0..200_u64).prop_map(Act::Snooze),
        3 => (0..400_u64).prop_map(Act::Pass),
    ];
    proptest::collection::vec(act, 0..300)
}

const COOLDOWN: u64 = 7;

fn strict() -> Settings {
    Settings {
        queue: 3,
        cooldown: Duration::from_secs(COOLDOWN),
        peer_rate: PeerRate {
            per_minute: 20,
            burst: 5,
        },
        min_severity: Severity::Critical,
        filter: Filter {
            deny_namespaces: vec![WildMatch::new("ns-0")],
            ..Filter::default()
        },
        quiet: QuietHours {
            // Ten of every thirty minutes, so that the acts meet them.
            hours: ["12:20", "12:50", "13:20", "13:50"]
                .iter()
                .map(|from| {
                    let from: jiff::civil::Time = from.parse().unwrap();
                    let to = from + Duration::from_mins(10);
                    Hours { from, to }
                })
                .collect(),
            zone: Some(TimeZone::UTC),
        },
        ..Settings::default()
    }
}

proptest! {
    /// Invariants: every item is answered once and its answer is counted; the queue stays
    /// within its bound; what is accepted or coalesced is swung for, waits, was covered by
    /// a swing before, or was dropped and counted; what is denied or too mild never swings;
    /// nothing swings in quiet hours, a snooze or the cooldown, nor too late.
    #[test]
    fn whatever_happens_the_desk_keeps_its_word(acts in acts()) {
        let mut admission = Admission::new(strict());
        let mut now = at(0);
        let mut answers: HashMap<Outcome, u64> = HashMap::new();
        let mut decided: HashMap<String, Outcome> = HashMap::new();
        let (mut swing, mut rested, mut covered) = (0, None::<u64>, 0);
        for act in acts {
            let seconds = now.up.as_secs();
            match act {
                Act::Submit { id, pod, namespace, severity, age, peer } => {
                    let time = now.wall.checked_sub(jiff::SignedDuration::from_secs(age));
                    let bonk = Bonk {
                        severity,
                        time: time.ok(),
                        namespace: format!("ns-{namespace}"),
                        ..bonk(&id.to_string(), &pod.to_string())
                    };
                    let peer = format!("192.0.2.{peer}").parse().ok();
                    let id = bonk.id.clone();
                    let before = admission.queue_items();
                    let answer = admission.submit(Ok(bonk), peer, now);
                    *answers.entry(answer.outcome).or_default() += 1;
                    let known = decided.get(&id).copied();
                    prop_assert_eq!(answer.outcome == Outcome::Duplicate, known.is_some());
                    prop_assert_eq!(answer.first, known);
                    if answer.outcome.is_final() {
                        decided.insert(id, answer.outcome);
                    }
                    match answer.outcome {
                        Outcome::Accepted | Outcome::Coalesced => {
                            prop_assert!(namespace != 0 && severity != Severity::Warning);
                            prop_assert!(age < 300);
                        }
                        _ => (),
                    }
                    if answer.outcome == Outcome::Coalesced && admission.queue_items() == before {
                        covered += 1;
                    }
                }
                Act::Malformed => {
                    let answer = admission.submit(Err(Malformed::NoId), None, now);
                    prop_assert_eq!(answer.outcome, Outcome::Rejected);
                    *answers.entry(Outcome::Rejected).or_default() += 1;
                }
                Act::TakeJob(takes) => match admission.next(now) {
                    Next::Swing(job) => {
                        prop_assert!(strict().quiet.end(now.wall).is_none());
                        prop_assert!(admission.snoozed_until(now).is_none());
                        prop_assert!(rested.is_none_or(|rested| seconds >= rested + COOLDOWN));
                        prop_assert!(job.expires > now.up);
                        prop_assert!(job.bonk.namespace != "ns-0");
                        prop_assert!(job.bonk.severity >= Severity::Critical);
                        swing += job.coalesced + 1;
                        now = at(seconds + takes);
                        admission.finish_swing(now);
                        rested = Some(now.up.as_secs());
                    }
                    Next::WaitUntil(up) => {
                        prop_assert_eq!(Some(up.as_secs()), rested.map(|at| at + COOLDOWN));
                        prop_assert!(up > now.up);
                    }
                    Next::Idle => prop_assert_eq!(admission.queue_length(), 0),
                },
                Act::Snooze(span) => {
                    admission.snooze(Duration::from_secs(span), now);
                }
                Act::Pass(span) => now = at(seconds + span),
            }
            prop_assert!(admission.queue_length() <= 3);
        }
        let tally = admission.tally();
        for &outcome in Outcome::VARIANTS {
            prop_assert_eq!(tally.count(outcome), answers.get(&outcome).copied().unwrap_or(0));
        }
        let items = tally.count(Outcome::Accepted) + tally.count(Outcome::Coalesced);
        let dropped = tally.expired_waiting + tally.quiet_waiting;
        prop_assert_eq!(items, swing + covered + dropped + admission.queue_items());
    }
}

#[test]
fn known_ids_are_bounded_and_the_oldest_is_forgotten() {
    let answers = (0..=REMEMBERED.get()).map(|n| (n.to_string(), "QUIET".to_owned()));
    let mut admission = Admission::new(Settings::default());
    admission.restore(Restored {
        answers: answers.collect(),
        snoozed: None,
    });
    let second = outcome(&mut admission, bonk("1", "a"), at(0));
    assert_eq!(second, Outcome::Duplicate);
    assert_eq!(
        outcome(&mut admission, bonk("0", "a"), at(0)),
        Outcome::Accepted
    );
}
