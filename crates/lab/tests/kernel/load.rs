//! A thousand clients at one bonker.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use lab::{Bonker, LoadClients, Steps};
use proto::bonk::Outcome;

use crate::support::{SOON, bonker_bin};

const CLIENTS: u32 = 1000;
const EACH: u32 = 10;
/// As many bonks as are to be answered within a minute.
const BONKS: u64 = 10_000;

/// `--duty` is 20 % of a minute.
const DUTY: Duration = Duration::from_secs(12);

#[test]
fn a_thousand_clients_are_answered_and_see_the_shutdown_and_the_servo_keeps_its_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_str().unwrap();
    let flags = ["--state", state, "--log-format", "json"];
    let mut bonker = Bonker::start_with_web(&bonker_bin(), &flags).unwrap();
    let mut clients = LoadClients::connect(bonker.url(), None, CLIENTS, 1).unwrap();
    let answers = clients.bonk(EACH, Duration::from_secs(5)).unwrap();
    assert_eq!(answers.count(), BONKS, "{:?}", answers.outcomes);
    assert_eq!(answers.strange, 0);
    let answered = |(outcome, count): (&Outcome, &u64)| {
        let name = outcome.as_str_name().trim_start_matches("OUTCOME_");
        (name.to_lowercase(), *count)
    };
    let answered: BTreeMap<String, u64> = answers.outcomes.iter().map(answered).collect();
    let mut counted = bonker.requests().unwrap();
    counted.retain(|_, count| *count > 0);
    assert_eq!(answered, counted);

    let (ends, end) = thread::scope(|scope| {
        let end = scope.spawn(|| bonker.end());
        (clients.wait_for_end().unwrap(), end.join().unwrap())
    });
    let (_took, well) = end.unwrap();
    assert!(well);
    assert_eq!(
        (ends.orderly, ends.surplus),
        (CLIENTS.into(), 0),
        "{ends:?}"
    );

    let log = bonker.log.to_end(SOON);
    let steps = Steps::parse(log.iter().map(String::as_str));
    let (least, most) = steps.extremes().expect("a swing");
    assert!(least >= 1000 && most <= 2000, "{least} to {most} µs");
    assert_eq!(steps.last(), Some(1000), "not at rest");
    let busiest = steps.busiest_minute();
    assert!(busiest <= DUTY, "{busiest:?}");
}
