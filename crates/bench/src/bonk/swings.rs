//! The swings in a bonker's log. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use lab::{field, message};

/// When the first pulse for each victim began: `CLOCK_REALTIME`, in ns. Victims go by the name of
/// their process, or of their container where that alone is known.
pub(super) type Swings = BTreeMap<String, u64>;

/// Out of the log's JSON lines, in their order: the steps of a swing, then its victim.
pub(super) fn first_pulses<'a>(lines: impl IntoIterator<Item = &'a str>) -> Swings {
    let mut swings = Swings::new();
    let mut first = None;
    for line in lines {
        match message(line).as_deref() {
            Some("swing step") => first = first.or_else(|| at_ns(line)),
            Some("bonked") => {
                let began = first.take();
                if let (Some(name), Some(began)) = (victim(line), began) {
                    swings.entry(name).or_insert(began);
                }
            }
            _ => {}
        }
    }
    swings
}

fn victim(line: &str) -> Option<String> {
    let comm = field(line, "comm").filter(|comm| !comm.is_empty());
    comm.or_else(|| {
        let place = field(line, "place")?;
        place.rsplit('/').next().map(str::to_owned)
    })
}

fn at_ns(line: &str) -> Option<u64> {
    let at: Timestamp = field(line, "timestamp")?.parse().ok()?;
    u64::try_from(at.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(second: u32) -> String {
        format!(
            r#"{{"timestamp":"1970-01-01T00:00:0{second}.000001Z","level":"INFO","message":"swing step","pulse_us":2000}}"#
        )
    }

    fn bonked(place: &str, comm: &str) -> String {
        format!(
            r#"{{"timestamp":"1970-01-01T00:00:09Z","message":"bonked","id":"x","place":"{place}","comm":"{comm}"}}"#
        )
    }

    #[test]
    fn each_swing_began_with_its_first_step_and_each_victim_counts_once() {
        let lines = [
            step(1),
            step(2),
            bonked("", "penguin-1"),
            "no JSON".to_owned(),
            step(3),
            step(4),
            bonked("shop/pod/penguin-2", ""),
            step(5),
            bonked("", "penguin-1"),
            bonked("", "no-step"),
            step(6),
        ];
        let swings = first_pulses(lines.iter().map(String::as_str));
        let wanted = [("penguin-1", 1_000_001_000), ("penguin-2", 3_000_001_000)];
        let wanted = wanted.map(|(name, ns)| (name.to_owned(), ns));
        assert_eq!(swings, Swings::from(wanted));
    }
}
