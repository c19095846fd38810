//! Between the generated messages and [`Bonk`].

use std::time::SystemTime;

use jiff::Timestamp;
use proto::bonk::{self as wire, Acknowledgement, BonkItem, WatchBonksResponse};

use crate::admission::{Answer, Outcome};
use crate::bonk::{Bonk, Malformed, Severity};
use crate::history::{Position, Swing};
use crate::motion::Gesture;

/// With its strings held to their bounds.
pub(crate) fn read(item: Option<BonkItem>) -> Result<Bonk, Malformed> {
    let item = item.ok_or(Malformed::NoItem)?;
    bonk(item).bounded()
}

/// Unchecked. A time that no clock can show counts as none.
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

fn severity(severity: wire::Severity) -> Severity {
    match severity {
        wire::Severity::Warning => Severity::Warning,
        wire::Severity::Critical => Severity::Critical,
        wire::Severity::Unspecified | wire::Severity::Kill => Severity::Kill,
        wire::Severity::Node => Severity::Node,
    }
}

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

/// Its namesake, as `OUTCOME_RATE_LIMITED`.
fn outcome(outcome: Outcome) -> wire::Outcome {
    wire::Outcome::from_str_name(&format!("OUTCOME_{}", outcome.name())).unwrap_or_default()
}

/// For a watcher that missed `missed` swings before it.
pub(crate) fn swing(swing: &Swing, missed: u64) -> WatchBonksResponse {
    WatchBonksResponse {
        item: Some(item(&swing.bonk)),
        swings: swing.swings,
        swung_at: Some(wire_time(swing.swung_at)),
        missed,
        position: Some(wire_position(&swing.position)),
        gesture: gesture(swing.gesture).into(),
        coalesced: swing.coalesced,
    }
}

/// Its namesake, as `GESTURE_DOUBLE_NUDGE`.
fn gesture(gesture: Gesture) -> wire::Gesture {
    let name = gesture.name().replace('-', "_").to_ascii_uppercase();
    wire::Gesture::from_str_name(&format!("GESTURE_{name}")).unwrap_or_default()
}

/// `None` for a gesture of a later version.
pub(crate) fn known_gesture(made: wire::Gesture) -> Option<Gesture> {
    let name = made.as_str_name().strip_prefix("GESTURE_")?;
    name.to_ascii_lowercase().replace('_', "-").parse().ok()
}

pub(crate) fn wire_position(position: &Position) -> wire::Position {
    wire::Position {
        history: position.history.to_string(),
        sequence: position.sequence,
    }
}

pub(crate) fn position(position: wire::Position) -> Position {
    Position {
        history: position.history.into(),
        sequence: position.sequence,
    }
}

/// `None` for a time that no clock can show.
pub(crate) fn timestamp(time: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

pub(crate) fn wire_time(time: Timestamp) -> prost_types::Timestamp {
    SystemTime::from(time).into()
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::{bonk, gesture, item, known_gesture, outcome, timestamp, wire_time};
    use crate::admission::Outcome;
    use crate::bonk::{Bonk, Severity};
    use crate::motion::Gesture;

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
        let unspecified = proto::bonk::BonkItem::default();
        assert_eq!(bonk(unspecified).severity, Severity::Kill);
    }

    #[test]
    fn every_gesture_survives_the_wire() {
        for &made in Gesture::VARIANTS {
            assert_eq!(known_gesture(gesture(made)), Some(made), "{made:?}");
        }
        assert_eq!(known_gesture(proto::bonk::Gesture::Unspecified), None);
    }

    #[test]
    fn every_outcome_has_its_namesake_on_the_wire() {
        for &made in Outcome::VARIANTS {
            let name = outcome(made).as_str_name();
            assert_eq!(name.strip_prefix("OUTCOME_"), Some(made.name()));
        }
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
