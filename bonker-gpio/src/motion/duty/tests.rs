use std::time::{Duration, Instant};

use super::{Duty, MINUTE, Percent, REMEMBERED};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_minute_that_is_used_up_makes_wait() {
    let zero = Instant::now();
    let mut duty = Duty::new(Percent(10), s(1));
    assert_eq!(duty.allowed(), s(6));
    assert_eq!(duty.wait_time(s(5), zero), Duration::ZERO);
    assert_eq!(
        duty.wait_time(s(6), zero),
        Duration::ZERO,
        "an empty minute is all there is"
    );
    duty.record_pulses(zero, zero + s(2));
    duty.record_pulses(zero + s(10), zero + s(13));
    let now = zero + s(20);
    assert_eq!(duty.wait_time(Duration::ZERO, now), Duration::ZERO);
    // Once the first two seconds are a minute ago.
    assert_eq!(duty.wait_time(s(1), now), s(42));
    assert_eq!(duty.wait_time(s(2), now), s(42));
    // Once all are.
    assert_eq!(duty.wait_time(s(3), now), s(53));
    assert_eq!(duty.wait_time(s(3), now + s(53)), Duration::ZERO);
}

#[test]
fn remembered_spans_are_bounded_and_never_too_short() {
    let zero = Instant::now();
    let mut duty = Duty::new(Percent(100), Duration::ZERO);
    let ms = Duration::from_millis;
    for at in 0..10 * u64::try_from(REMEMBERED).unwrap() {
        let began = zero + ms(40 * at);
        duty.record_pulses(began, began + ms(20));
    }
    assert!(duty.spans.len() <= REMEMBERED);
    let on: Duration = duty.spans.iter().map(|span| span.on).sum();
    let all = ms(20) * 10 * u32::try_from(REMEMBERED).unwrap();
    assert_eq!(on, all);
    duty.forget(zero + 3 * MINUTE);
    assert!(duty.spans.is_empty());
}

#[test]
fn percents_are_read_as_people_write_them() {
    let check = |text: &str, expect: Option<u8>| {
        assert_eq!(text.parse().ok(), expect.map(Percent), "{text}");
    };
    check("20%", Some(20));
    check("20", Some(20));
    check("100%", Some(100));
    check("0%", None);
    check("101", None);
    check("-1", None);
    check("20 %", None);
    check("", None);
    assert_eq!(Percent(20).to_string(), "20%");
    assert_eq!(Percent(40).share_of(1000), 400);
    assert_eq!(Percent(100).share_of(u16::MAX), u16::MAX);
}
