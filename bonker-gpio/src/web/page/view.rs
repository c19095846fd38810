//! What the page is told, as JSON. Pure. Strings of peers are as they came: the page makes
//! nothing but text of them.

use std::collections::BTreeMap;

use axum::body::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::bonk::Severity;
use crate::desk::Status;
use crate::history::{Position, Swung};
use crate::motion::{Gesture, Pose};

/// Everything, for a page that has nothing yet, or that missed more than is told one by one.
#[derive(Serialize)]
pub(super) struct State<'a> {
    pub(super) version: &'static str,
    pub(super) backend: &'a str,
    pub(super) backend_reason: &'a str,
    /// How each gesture moves the mallet.
    pub(super) gestures: Gestures,
    #[serde(flatten)]
    pub(super) counts: Counts,
    /// Newest first; none for a page that has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) incidents: Option<Vec<Incident<'a>>>,
}

/// By name: place (0 at rest, 1 at the strike) and time there in ms, one after the other.
pub(super) type Gestures = BTreeMap<&'static str, Vec<(f64, u128)>>;

/// A swing.
#[derive(Serialize)]
pub(super) struct Bonked<'a> {
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) incident: Incident<'a>,
    /// There are later ones: this one is for the history alone.
    pub(super) behind: bool,
}

/// Somebody wants the penguin left in peace, or not any more.
#[derive(Serialize)]
pub(super) struct Snoozed {
    pub(super) now: String,
    pub(super) snoozed_until: Option<String>,
}

/// The figures, as of `now`.
#[derive(Serialize)]
pub(super) struct Counts {
    now: String,
    total: u64,
    last_swing_at: Option<String>,
    snoozed_until: Option<String>,
    leaderboard: Vec<Leader>,
}

#[derive(Serialize)]
struct Leader {
    namespace: String,
    bonks: u64,
}

/// A swing and its reason.
#[derive(Serialize)]
pub(super) struct Incident<'a> {
    position: String,
    swung_at: String,
    gesture: &'static str,
    coalesced: u64,
    severity: &'static str,
    source: &'a str,
    node: &'a str,
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
    comm: &'a str,
    summary: &'a str,
    /// The last minute's memory, in thousandths of the limit.
    usage: &'a [u32],
    verdict: &'a str,
}

/// One server-sent event. With a position, a browser that comes back names it.
pub(super) fn event(name: &str, position: Option<&Position>, data: &impl Serialize) -> Bytes {
    // Strings and numbers alone: that cannot fail. JSON has no line breaks of its own.
    let data = serde_json::to_string(data).unwrap_or_default();
    let id = position.map(|position| format!("id: {}\n", told(position)));
    let id = id.unwrap_or_default();
    format!("{id}event: {name}\ndata: {data}\n\n").into()
}

/// What the servo's pulses come to on the page.
pub(super) fn gestures(poses: &[(Gesture, Vec<Pose>)]) -> Gestures {
    let one = |pose: &Pose| (pose.place, pose.hold.as_millis());
    poses
        .iter()
        .map(|(gesture, poses)| (gesture.name(), poses.iter().map(one).collect()))
        .collect()
}

/// A position as browsers repeat it.
pub(super) fn told(position: &Position) -> String {
    format!("{}-{}", position.history, position.sequence)
}

/// What [`told`] was given.
pub(super) fn heard(text: &str) -> Option<Position> {
    let (history, sequence) = text.rsplit_once('-')?;
    Some(Position {
        history: history.into(),
        sequence: sequence.parse().ok()?,
    })
}

/// In milliseconds, which is what browsers can read.
pub(super) fn time(at: Timestamp) -> String {
    Timestamp::from_millisecond(at.as_millisecond())
        .unwrap_or(at)
        .to_string()
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
        Severity::Kill => "kill",
        Severity::Node => "node",
    }
}

// === impl Counts ===

impl Counts {
    pub(super) fn new(status: &Status, board: Vec<(String, u64)>, now: Timestamp) -> Self {
        let leader = |(namespace, bonks)| Leader { namespace, bonks };
        Self {
            now: time(now),
            total: status.total_swings,
            last_swing_at: status.last_swing_at.map(time),
            snoozed_until: status.snoozed_until.map(time),
            leaderboard: board.into_iter().map(leader).collect(),
        }
    }
}

// === impl Incident ===

impl<'a> From<&'a Swung> for Incident<'a> {
    fn from(swung: &'a Swung) -> Self {
        let bonk = swung.bonk.as_ref();
        Self {
            position: told(&swung.position),
            swung_at: time(swung.swung_at),
            gesture: swung.gesture.name(),
            coalesced: swung.coalesced,
            severity: severity(bonk.severity),
            source: &bonk.source,
            node: &bonk.node,
            namespace: &bonk.namespace,
            pod: &bonk.pod,
            container: &bonk.container,
            comm: &bonk.comm,
            summary: &bonk.summary,
            usage: &bonk.usage_permille,
            verdict: &bonk.verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{event, heard, time, told};
    use crate::history::Position;

    #[test]
    fn a_position_comes_back_as_it_went() {
        let position = Position {
            history: "a-b".into(),
            sequence: 7,
        };
        assert_eq!(told(&position), "a-b-7");
        assert_eq!(heard("a-b-7"), Some(position));
        for strange in ["", "7", "a-", "a-x", "a--1", "a-99999999999999999999"] {
            let heard = heard(strange);
            assert!(heard.is_none_or(|it| told(&it) == strange), "{strange}");
        }
    }

    #[test]
    fn an_event_is_one_line_of_data_whatever_is_in_it() {
        let hostile = json!({"comm": "a\n\nevent: x\r\ndata: 1\u{2028}"});
        let event = event("bonk", None, &hostile);
        let lines: Vec<&str> = std::str::from_utf8(&event).unwrap().lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines.first(), Some(&"event: bonk"));
        assert_eq!(lines.last(), Some(&""));
        let data = lines.get(1).and_then(|line| line.strip_prefix("data: "));
        let data: serde_json::Value = serde_json::from_str(data.unwrap()).unwrap();
        assert_eq!(data, hostile);
    }

    #[test]
    fn times_are_what_browsers_read() {
        let at = "2026-11-21T15:00:00.123456789Z".parse().unwrap();
        assert_eq!(time(at), "2026-11-21T15:00:00.123Z");
    }
}
