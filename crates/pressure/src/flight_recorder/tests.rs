use super::rings::CONTAINERS;
use super::*;
use crate::history::GrowthPattern;

const MIB: u64 = 1 << 20;
const S: u64 = 1_000_000_000;

/// After so many days that a clock of 32 bits has come around twice, nearly.
const BOOT: u64 = 8_589_930 * S;

fn sample(at_ns: u64, mib: u64) -> Sample {
    Sample {
        at_ns: BOOT + at_ns,
        current: 2 * mib * MIB,
        working_set: mib * MIB,
        limit: Some(100 * MIB),
        throttles: false,
        psi: None,
    }
}

fn recorded(key: &CgroupKey, samples: impl IntoIterator<Item = (u64, u64)>) -> FlightRecorder {
    let recorder = FlightRecorder::default();
    for (at_ns, mib) in samples {
        recorder.record(&[(key.clone(), sample(at_ns, mib))]);
    }
    recorder
}

fn ages(history: &History) -> Vec<u64> {
    history.samples.iter().map(|(age_ms, _)| *age_ms).collect()
}

#[test]
fn an_incident_gets_the_last_minute_and_the_kill_itself() {
    let key = CgroupKey::new("/a", 1);
    let recorder = recorded(&key, (0..100).map(|s| (s * S, s)));
    // A sample after the kill is none before it.
    let stamp = BOOT + 98 * S + S / 2;
    let history = recorder
        .history("/a", stamp, Some(100 * MIB), None)
        .unwrap();
    assert_eq!(history.samples.len(), SAMPLES);
    assert_eq!(history.samples.first(), Some(&(58_500, 40 * MIB)));
    assert_eq!(history.samples.get(58), Some(&(500, 98 * MIB)));
    assert_eq!(history.samples.last(), Some(&(0, 100 * MIB)));
    assert_eq!(history.pattern, GrowthPattern::Leak);
    assert_eq!(history.limit_bytes, Some(100 * MIB));
    let slope = history.slope_bytes_per_second.unwrap().unsigned_abs();
    assert!(slope.abs_diff(MIB) < MIB / 50, "{slope}");
    assert_eq!(history.half_to_limit_ms, Some(48_500));
    assert_eq!(recorder.history("/b", stamp, None, None), None);
    assert_eq!(recorder.history("/a", BOOT - 200 * S, None, None), None);
}

#[test]
fn another_cgroup_at_the_same_path_has_a_history_of_its_own() {
    let recorder = recorded(&CgroupKey::new("/a", 1), [(0, 10), (S, 20)]);
    recorder.record(&[(CgroupKey::new("/a", 2), sample(2 * S, 5))]);
    let history = recorder.history("/a", BOOT + 3 * S, None, None).unwrap();
    assert_eq!(history.samples, [(1000, 5 * MIB)]);
}

#[test]
fn many_samples_a_second_keep_the_minute_and_the_detail_of_its_end() {
    let key = CgroupKey::new("/a", 1);
    let calm = (0..50).map(|s| s * S);
    let prompt = (0..100).map(|n| 50 * S + n * S / 10);
    let recorder = recorded(&key, calm.chain(prompt).map(|at| (at, 1)));
    let history = recorder.history("/a", BOOT + 60 * S, None, None).unwrap();
    let ages = ages(&history);
    assert_eq!(ages.len(), SAMPLES);
    assert_eq!(ages.first(), Some(&60_000));
    let within = |ms| ages.iter().filter(|age| **age <= ms).count();
    assert!(within(1_000) >= 5, "{ages:?}");
    let widest = ages.windows(2).map(|pair| pair[0] - pair[1]).max();
    assert!(widest <= Some(5_000), "{ages:?}");
}

#[test]
fn a_kill_begins_a_new_history_but_not_within_seconds() {
    let key = CgroupKey::new("/a", 1);
    let recorder = recorded(
        &key,
        (0..30).map(|s| (s * S, if s < 20 { 5 * s } else { s })),
    );
    let samples = |at: u64| {
        recorder
            .history("/a", BOOT + at, None, None)
            .unwrap()
            .samples
            .len()
    };
    assert_eq!(samples(20 * S - 1), 20);
    // Its siblings, right after it.
    assert_eq!(samples(20 * S + 1), 21);
    assert_eq!(samples(29 * S), 9);
}

#[test]
fn a_history_outlives_its_cgroup_for_a_minute() {
    let recorder = recorded(&CgroupKey::new("/a", 1), [(0, 10), (S, 20)]);
    let others = |at| recorder.record(&[(CgroupKey::new("/b", 2), sample(at, 1))]);
    others(50 * S);
    assert!(recorder.history("/a", BOOT + 2 * S, None, None).is_some());
    others(130 * S);
    assert!(recorder.history("/a", BOOT + 2 * S, None, None).is_none());
}

#[test]
fn there_is_room_for_so_many_and_those_that_are_gone_make_room() {
    let recorder = FlightRecorder::default();
    let key = |n: usize| CgroupKey::new(&format!("/{n}"), 1);
    let sweep = |at, from: usize, to: usize| {
        for n in from..to {
            recorder.record(&[(key(n), sample(at, 1))]);
        }
    };
    sweep(0, 0, CONTAINERS);
    sweep(S, 0, CONTAINERS + 10);
    assert_eq!(recorder.refused(), 10);
    let has_history = |n: usize| {
        recorder
            .history(&format!("/{n}"), BOOT + 60 * S, None, None)
            .is_some()
    };
    assert!(has_history(0) && !has_history(CONTAINERS));
    // The first hundred are gone.
    sweep(7 * S, 100, CONTAINERS);
    sweep(7 * S, CONTAINERS, CONTAINERS + 10);
    sweep(13 * S, 100, CONTAINERS + 10);
    assert!(has_history(CONTAINERS) && !has_history(0));
}

#[test]
fn forecasts_are_of_what_is_there_and_grows() {
    let recorder = recorded(
        &CgroupKey::new("/grows", 1),
        (0..30).map(|s| (s * S, 2 * s)),
    );
    for s in 0..30 {
        recorder.record(&[(CgroupKey::new("/flat", 2), sample(s * S, 50))]);
    }
    let now = BOOT + 30 * S;
    let expected = Forecast {
        cgroup: "/grows".into(),
        to_limit: Duration::from_secs(21),
    };
    assert_eq!(recorder.forecasts(now), [expected]);
    assert_eq!(
        recorder.forecast("/grows", now),
        Some(Duration::from_secs(21))
    );
    assert_eq!(recorder.forecast("/flat", now), None);
    assert_eq!(recorder.forecasts(now + 10 * S), []);
}

#[test]
fn a_ring_has_the_size_in_the_docs() {
    let page = include_str!("../../../../docs/pressure.md");
    let size = format!("{SAMPLES} samples of {} bytes", size_of::<Point>());
    assert!(page.contains(&size), "{size}");
    assert!(page.contains(&format!("{CONTAINERS}")), "{CONTAINERS}");
}
