//! Between the generated messages and [`Bonk`].

use jiff::Timestamp;
use proto::bonk::{self as wire, Acknowledgement, BonkItem, WatchBonksResponse};

use crate::bonk::{Bonk, Malformed, Severity};
use crate::desk::{Answer, Outcome};
use crate::history::{Position, Swung};
use crate::motion::Gesture;

/// What came in, with its strings held to their bounds.
pub(crate) fn read(item: Option<BonkItem>) -> Result<Bonk, Malformed> {
    let item = item.ok_or(Malformed::NoItem)?;
    bonk(item).bounded()
}

/// What came in, as it came. A time that no clock can show counts as none.
pub(crate) fn bonk(item: BonkItem) -> Bonk {
    Bonk {
        severity: severity(item.severity()),
        id: item.id,
        time: item.time.and_then(timestamp),
        source: item.source,
        node: item.node,
        namespace: item.namespace,
        pod: item.pod,
        container: item.container,
        comm: item.comm,
        summary: item.summary,
        labels: item.labels,
        usage_permille: item.usage_permille,
        verdict: item.verdict,
    }
}

fn severity(said: wire::Severity) -> Severity {
    match said {
        wire::Severity::Warning => Severity::Warning,
        wire::Severity::Critical => Severity::Critical,
        wire::Severity::Unspecified | wire::Severity::Kill => Severity::Kill,
        wire::Severity::Node => Severity::Node,
    }
}

/// What goes out.
pub(crate) fn item(bonk: &Bonk) -> BonkItem {
    BonkItem {
        id: bonk.id.clone(),
        time: bonk.time.map(wire_time),
        source: bonk.source.clone(),
        node: bonk.node.clone(),
        namespace: bonk.namespace.clone(),
        pod: bonk.pod.clone(),
        container: bonk.container.clone(),
        comm: bonk.comm.clone(),
        summary: bonk.summary.clone(),
        severity: match bonk.severity {
            Severity::Warning => wire::Severity::Warning,
            Severity::Critical => wire::Severity::Critical,
            Severity::Kill => wire::Severity::Kill,
            Severity::Node => wire::Severity::Node,
        }
        .into(),
        labels: bonk.labels.clone(),
        usage_permille: bonk.usage_permille.clone(),
        verdict: bonk.verdict.clone(),
    }
}

/// The answer to the item of that id.
pub(crate) fn acknowledgement(id: String, answer: Answer) -> Acknowledgement {
    Acknowledgement {
        id,
        outcome: outcome(answer.outcome).into(),
        first_outcome: answer
            .first
            .map_or(wire::Outcome::Unspecified, outcome)
            .into(),
        message: answer.message,
    }
}

fn outcome(outcome: Outcome) -> wire::Outcome {
    match outcome {
        Outcome::Accepted => wire::Outcome::Accepted,
        Outcome::Coalesced => wire::Outcome::Coalesced,
        Outcome::Duplicate => wire::Outcome::Duplicate,
        Outcome::RateLimited => wire::Outcome::RateLimited,
        Outcome::Quiet => wire::Outcome::Quiet,
        Outcome::Expired => wire::Outcome::Expired,
        Outcome::Full => wire::Outcome::Full,
        Outcome::Rejected => wire::Outcome::Rejected,
    }
}

/// A swing, for a watcher that was not told of `missed` before it.
pub(crate) fn swung(swung: &Swung, missed: u64) -> WatchBonksResponse {
    WatchBonksResponse {
        item: Some(item(&swung.bonk)),
        swings: swung.swings,
        swung_at: Some(wire_time(swung.swung_at)),
        missed,
        position: Some(wire_position(&swung.position)),
        gesture: gesture(swung.gesture).into(),
        coalesced: swung.coalesced,
    }
}

fn gesture(gesture: Gesture) -> wire::Gesture {
    match gesture {
        Gesture::Nudge => wire::Gesture::Nudge,
        Gesture::DoubleNudge => wire::Gesture::DoubleNudge,
        Gesture::Bonk => wire::Gesture::Bonk,
        Gesture::Frenzy => wire::Gesture::Frenzy,
        Gesture::Toggle => wire::Gesture::Toggle,
    }
}

/// The gesture somebody made; `None` if it is of a later version.
pub(crate) fn known_gesture(made: wire::Gesture) -> Option<Gesture> {
    Gesture::ALL
        .into_iter()
        .find(|known| gesture(*known) == made)
}

/// A place in this server's history.
pub(crate) fn wire_position(position: &Position) -> wire::Position {
    wire::Position {
        history: position.history.to_string(),
        sequence: position.sequence,
    }
}

/// Where a watcher wants to go on, or a hub is.
pub(crate) fn position(position: wire::Position) -> Position {
    Position {
        history: position.history.into(),
        sequence: position.sequence,
    }
}

/// A clock's time, if `time` is one.
pub(crate) fn timestamp(time: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// A clock's time for the wire, whose nanoseconds always count forward.
pub(crate) fn wire_time(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 {
        prost_types::Timestamp {
            seconds: seconds - 1,
            nanos: nanos + 1_000_000_000,
        }
    } else {
        prost_types::Timestamp { seconds, nanos }
    }
}

#[cfg(test)]
mod tests {
    use super::{bonk, item, timestamp, wire_time};
    use crate::bonk::{Bonk, Severity};

    #[test]
    fn every_severity_survives_the_wire() {
        for severity in [
            Severity::Warning,
            Severity::Critical,
            Severity::Kill,
            Severity::Node,
        ] {
            let labels = [("app".to_owned(), "web".to_owned())].into();
            let sent = Bonk {
                severity,
                labels,
                usage_permille: vec![50, 500, 1000],
                verdict: "leak".into(),
                ..Bonk::default()
            };
            assert_eq!(bonk(item(&sent)), sent);
        }
        let unsaid = proto::bonk::BonkItem::default();
        assert_eq!(bonk(unsaid).severity, Severity::Kill);
    }

    #[test]
    fn times_survive_the_wire() {
        for text in ["2026-11-21T09:00:00.123456789Z", "1969-12-31T23:59:59.25Z"] {
            let time = text.parse().unwrap();
            let wire = wire_time(time);
            assert!((0..1_000_000_000).contains(&wire.nanos), "{wire:?}");
            assert_eq!(timestamp(wire), Some(time));
        }
    }

    #[test]
    fn an_impossible_time_counts_as_none() {
        let mut odd = item(&crate::bonk::Bonk::default());
        odd.time = Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: i32::MIN,
        });
        assert_eq!(bonk(odd).time, None);
    }
}
