use super::ring::Ring;
use super::rings::CONTAINERS;
use super::*;
use crate::history::Growth;

const MIB: u64 = 1 << 20;
const S: u64 = 1_000_000_000;

/// After so many days that a clock of 32 bits has come around twice, nearly.
const BOOT: u64 = 8_589_930 * S;

fn usage(at_ns: u64, mib: u64) -> Usage {
    Usage {
        at_ns: BOOT + at_ns,
        current: 2 * mib * MIB,
        working_set: mib * MIB,
        limit: Some(100 * MIB),
        throttles: false,
        psi: None,
    }
}

fn recorded(key: &Key, samples: impl IntoIterator<Item = (u64, u64)>) -> Recorder {
    let recorder = Recorder::default();
    for (at_ns, mib) in samples {
        recorder.take(&[(key.clone(), usage(at_ns, mib))]);
    }
    recorder
}

fn ages(before: &Before) -> Vec<u64> {
    before.samples.iter().map(|(age_ms, _)| *age_ms).collect()
}

#[test]
fn an_incident_gets_the_last_minute_and_the_kill_itself() {
    let key = Key::new("/a", 1);
    let recorder = recorded(&key, (0..100).map(|s| (s * S, s)));
    // Another look after the kill is none before it.
    let stamp = BOOT + 98 * S + S / 2;
    let before = recorder.before("/a", stamp, Some(100 * MIB), None).unwrap();
    assert_eq!(before.samples.len(), SAMPLES);
    assert_eq!(before.samples.first(), Some(&(58_500, 40 * MIB)));
    assert_eq!(before.samples.get(58), Some(&(500, 98 * MIB)));
    assert_eq!(before.samples.last(), Some(&(0, 100 * MIB)));
    assert_eq!(before.verdict, Growth::Leak);
    assert_eq!(before.limit_bytes, Some(100 * MIB));
    let slope = before.slope_bytes_per_second.unwrap().unsigned_abs();
    assert!(slope.abs_diff(MIB) < MIB / 50, "{slope}");
    assert_eq!(before.half_to_limit_ms, Some(48_500));
    assert_eq!(recorder.before("/b", stamp, None, None), None);
    assert_eq!(recorder.before("/a", BOOT - 200 * S, None, None), None);
}

#[test]
fn another_cgroup_at_the_same_path_is_another_story() {
    let recorder = recorded(&Key::new("/a", 1), [(0, 10), (S, 20)]);
    recorder.take(&[(Key::new("/a", 2), usage(2 * S, 5))]);
    let before = recorder.before("/a", BOOT + 3 * S, None, None).unwrap();
    assert_eq!(before.samples, [(1000, 5 * MIB)]);
}

#[test]
fn many_looks_a_second_keep_the_minute_and_the_detail_of_its_end() {
    let key = Key::new("/a", 1);
    let calm = (0..50).map(|s| s * S);
    let prompt = (0..100).map(|n| 50 * S + n * S / 10);
    let recorder = recorded(&key, calm.chain(prompt).map(|at| (at, 1)));
    let before = recorder.before("/a", BOOT + 60 * S, None, None).unwrap();
    let ages = ages(&before);
    assert_eq!(ages.len(), SAMPLES);
    assert_eq!(ages.first(), Some(&60_000));
    let within = |ms| ages.iter().filter(|age| **age <= ms).count();
    assert!(within(1_000) >= 5, "{ages:?}");
    let widest = ages.windows(2).map(|pair| pair[0] - pair[1]).max();
    assert!(widest <= Some(5_000), "{ages:?}");
}

#[test]
fn a_kill_begins_a_new_story_but_not_within_seconds() {
    let key = Key::new("/a", 1);
    let recorder = recorded(
        &key,
        (0..30).map(|s| (s * S, if s < 20 { 5 * s } else { s })),
    );
    let samples = |at: u64| {
        recorder
            .before("/a", BOOT + at, None, None)
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
fn a_story_outlives_its_cgroup_for_a_minute() {
    let recorder = recorded(&Key::new("/a", 1), [(0, 10), (S, 20)]);
    let others = |at| recorder.take(&[(Key::new("/b", 2), usage(at, 1))]);
    others(50 * S);
    assert!(recorder.before("/a", BOOT + 2 * S, None, None).is_some());
    others(130 * S);
    assert!(recorder.before("/a", BOOT + 2 * S, None, None).is_none());
}

#[test]
fn there_is_room_for_so_many_and_those_that_are_gone_make_room() {
    let recorder = Recorder::default();
    let key = |n: usize| Key::new(&format!("/{n}"), 1);
    let pass = |at, from: usize, to: usize| {
        for n in from..to {
            recorder.take(&[(key(n), usage(at, 1))]);
        }
    };
    pass(0, 0, CONTAINERS);
    pass(S, 0, CONTAINERS + 10);
    assert_eq!(recorder.refused(), 10);
    let told = |n: usize| {
        recorder
            .before(&format!("/{n}"), BOOT + 60 * S, None, None)
            .is_some()
    };
    assert!(told(0) && !told(CONTAINERS));
    // The first hundred are gone.
    pass(7 * S, 100, CONTAINERS);
    pass(7 * S, CONTAINERS, CONTAINERS + 10);
    pass(13 * S, 100, CONTAINERS + 10);
    assert!(told(CONTAINERS) && !told(0));
}

#[test]
fn forecasts_are_of_what_is_there_and_grows() {
    let recorder = recorded(&Key::new("/grows", 1), (0..30).map(|s| (s * S, 2 * s)));
    for s in 0..30 {
        recorder.take(&[(Key::new("/flat", 2), usage(s * S, 50))]);
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
fn a_ring_has_the_size_that_the_docs_tell() {
    let page = include_str!("../../../../docs/pressure.md");
    let told = format!("{} bytes", size_of::<Ring>());
    assert!(page.contains(&told), "{told}");
    assert!(page.contains(&format!("{CONTAINERS}")), "{CONTAINERS}");
}
