//! The hours without swings, in any time zone. Pure.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

/// Hours of every day, by the clocks of one time zone.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct QuietHours {
    /// Hours without swings, as in 22:00-07:00; repeatable
    #[arg(
        long = "quiet-hours",
        env = "BONKER_QUIET_HOURS",
        value_delimiter = ',',
        value_name = "HH:MM-HH:MM"
    )]
    pub hours: Vec<Hours>,
    /// Time zone of the quiet hours, as in Europe/Berlin; by default the system's
    #[arg(long = "time-zone", env = "BONKER_TIME_ZONE", value_name = "NAME", value_parser = zone)]
    pub zone: Option<TimeZone>,
}

/// From one time of the day to a later one or, if it is not later, to that of the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    pub from: Time,
    pub to: Time,
}

// === impl QuietHours ===

impl QuietHours {
    /// The end of the quiet hours; `None` outside of them.
    ///
    /// Where the clocks are put back over an end of the hours, the quiet lasts from the first
    /// time they show its beginning to the second time they show its end; where they are put
    /// forward over it, it is when they are.
    pub(super) fn end(&self, now: Timestamp) -> Option<Timestamp> {
        // `serve` has put the system's in place of none.
        let zone = &self.zone.clone().unwrap_or(TimeZone::UTC);
        let today = zone.to_datetime(now).date();
        let days = [today.yesterday().ok(), Some(today)];
        let quiet = |day: Date, hours: &Hours| {
            let last = if hours.to > hours.from {
                day
            } else {
                day.tomorrow().ok()?
            };
            let begin = instant(zone, day, hours.from, Occurrence::First)?;
            let end = instant(zone, last, hours.to, Occurrence::Second)?;
            (begin <= now && now < end).then_some(end)
        };
        let days = days.into_iter().flatten();
        let ends =
            days.flat_map(|day| self.hours.iter().filter_map(move |hours| quiet(day, hours)));
        ends.max()
    }
}

/// When the clocks show `time` on `day`.
fn instant(zone: &TimeZone, day: Date, time: Time, occurrence: Occurrence) -> Option<Timestamp> {
    let shown = zone.to_ambiguous_zoned(day.to_datetime(time));
    let gap = matches!(shown.offset(), AmbiguousOffset::Gap { .. });
    let found = match occurrence {
        // In a gap, this one is after it.
        _ if gap => shown.later(),
        Occurrence::First => shown.earlier(),
        Occurrence::Second => shown.later(),
    };
    let found = found.ok()?.timestamp();
    if gap {
        return Some(zone.preceding(found).next()?.timestamp());
    }
    Some(found)
}

/// Of two times at which the clocks show the same.
#[derive(Clone, Copy)]
enum Occurrence {
    First,
    Second,
}

// === impl Hours ===

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = "use HH:MM-HH:MM, as in 22:00-07:00, or 00:00-24:00 for the whole day";
        let (from, to) = text.split_once('-').ok_or(usage)?;
        let time = |text: &str| -> Result<Time, String> {
            let (hour, minute) = text.split_once(':').ok_or(usage)?;
            let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            if !digits(hour) || !digits(minute) {
                return Err(usage.to_owned());
            }
            let read = |text: &str| text.parse().map_err(|_| usage.to_owned());
            Time::new(read(hour)?, read(minute)?, 0, 0).map_err(|why| format!("{why}: {usage}"))
        };
        let from = time(from)?;
        let whole = to == "24:00";
        let to = if whole { Time::midnight() } else { time(to)? };
        if from == to && !whole {
            return Err(format!("they end when they begin: {usage}"));
        }
        Ok(Self { from, to })
    }
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|why| format!("{why}: use a name as Europe/Berlin or UTC"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::{Hours, QuietHours};

    fn hours(from: &str, to: &str) -> Hours {
        Hours {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        }
    }

    /// Until when it is quiet at `now`, both by the clocks of Berlin with their offset.
    fn until(from: &str, to: &str, now: &str) -> Option<String> {
        let quiet = QuietHours {
            hours: vec![hours(from, to)],
            zone: Some(TimeZone::get("Europe/Berlin").unwrap()),
        };
        let now: Timestamp = now.parse().unwrap();
        let until = quiet.end(now)?.to_zoned(quiet.zone.unwrap());
        Some(until.strftime("%m-%dT%H:%M%:z").to_string())
    }

    fn check(from: &str, to: &str, now: &str, expect: Option<&str>) {
        let until = until(from, to, now);
        assert_eq!(until.as_deref(), expect, "{from}-{to} at {now}");
    }

    #[test]
    fn hours_of_one_day_and_over_midnight() {
        let noon = |now: &str, expect| check("12:00", "13:30", now, expect);
        noon("2026-06-01T11:59:59+02:00", None);
        noon("2026-06-01T12:00:00+02:00", Some("06-01T13:30+02:00"));
        noon("2026-06-01T13:29:59+02:00", Some("06-01T13:30+02:00"));
        noon("2026-06-01T13:30:00+02:00", None);
        let night = |now: &str, expect| check("22:00", "07:00", now, expect);
        night("2026-06-01T21:59:59+02:00", None);
        night("2026-06-01T22:00:00+02:00", Some("06-02T07:00+02:00"));
        night("2026-06-02T00:00:00+02:00", Some("06-02T07:00+02:00"));
        night("2026-06-02T06:59:59+02:00", Some("06-02T07:00+02:00"));
        night("2026-06-02T07:00:00+02:00", None);
        // By another's clocks it would be over.
        night("2026-06-02T04:30:00Z", Some("06-02T07:00+02:00"));
        night("2026-06-02T05:30:00Z", None);
        check(
            "00:00",
            "00:00",
            "2026-06-01T15:00+02:00",
            Some("06-02T00:00+02:00"),
        );
    }

    /// At 02:00 on 2026-03-29 the clocks were put to 03:00.
    #[test]
    fn the_hour_that_is_left_out() {
        check(
            "22:00",
            "07:00",
            "2026-03-29T06:30+02:00",
            Some("03-29T07:00+02:00"),
        );
        check("22:00", "07:00", "2026-03-29T07:00+02:00", None);
        let begins = |now: &str, expect| check("02:30", "04:00", now, expect);
        begins("2026-03-29T01:59:59+01:00", None);
        begins("2026-03-29T03:00:00+02:00", Some("03-29T04:00+02:00"));
        let ends = |now: &str, expect| check("01:00", "02:30", now, expect);
        ends("2026-03-29T01:59:59+01:00", Some("03-29T03:00+02:00"));
        ends("2026-03-29T03:00:00+02:00", None);
        let within = |now: &str, expect| check("02:10", "02:50", now, expect);
        within("2026-03-29T01:59:59+01:00", None);
        within("2026-03-29T03:00:00+02:00", None);
    }

    /// At 03:00 on 2026-10-25 the clocks were put back to 02:00.
    #[test]
    fn the_hour_that_comes_twice() {
        check(
            "22:00",
            "07:00",
            "2026-10-25T06:30+01:00",
            Some("10-25T07:00+01:00"),
        );
        let begins = |now: &str, expect| check("02:30", "04:00", now, expect);
        begins("2026-10-25T02:29:59+02:00", None);
        begins("2026-10-25T02:30:00+02:00", Some("10-25T04:00+01:00"));
        begins("2026-10-25T02:00:00+01:00", Some("10-25T04:00+01:00"));
        begins("2026-10-25T03:59:59+01:00", Some("10-25T04:00+01:00"));
        let ends = |now: &str, expect| check("01:00", "02:30", now, expect);
        ends("2026-10-25T02:30:00+02:00", Some("10-25T02:30+01:00"));
        ends("2026-10-25T02:29:59+01:00", Some("10-25T02:30+01:00"));
        ends("2026-10-25T02:30:00+01:00", None);
    }

    #[test]
    fn the_longest_of_several_counts() {
        let quiet = QuietHours {
            hours: vec![hours("12:00", "14:00"), hours("13:00", "16:00")],
            zone: None,
        };
        let at = |text: &str| quiet.end(text.parse().unwrap()).map(|end| end.to_string());
        assert_eq!(
            at("2026-06-01T13:30Z").as_deref(),
            Some("2026-06-01T16:00:00Z")
        );
        assert_eq!(
            at("2026-06-01T12:30Z").as_deref(),
            Some("2026-06-01T14:00:00Z")
        );
        assert_eq!(at("2026-06-01T16:00Z"), None);
    }
}
