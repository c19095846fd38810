//! The page's events, as JSON. Pure. Strings of peers are sent as they came: the page shows them
//! as text only.

use std::collections::BTreeMap;

use axum::response::sse::Event;
use jiff::Timestamp;
use serde::Serialize;

use crate::app::Status;
use crate::bonk::Severity;
use crate::history::{Position, Swing};
use crate::motion::{Gesture, Pose};

/// Everything, for a new page, or one that missed too many swings.
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

#[derive(Serialize)]
pub(super) struct Bonked<'a> {
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) incident: Incident<'a>,
    /// Later ones follow: this one is not played.
    pub(super) behind: bool,
}

#[derive(Serialize)]
pub(super) struct Snoozed {
    pub(super) now: String,
    pub(super) snoozed_until: Option<String>,
}

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
    severity: Severity,
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

/// One server-sent event. A reconnecting browser sends its position back.
pub(super) fn event(name: &str, position: Option<&Position>, data: &impl Serialize) -> Event {
    let event = Event::default();
    let event = match position {
        Some(position) => event.id(format_position(position)),
        None => event,
    };
    // Strings and numbers alone: that cannot fail.
    let data = serde_json::to_string(data).unwrap_or_default();
    event.event(name).data(data)
}

pub(super) fn gestures(poses: &[(Gesture, Vec<Pose>)]) -> Gestures {
    let one = |pose: &Pose| (pose.place, pose.hold.as_millis());
    poses
        .iter()
        .map(|(gesture, poses)| (gesture.name(), poses.iter().map(one).collect()))
        .collect()
}

/// The id of an event, which browsers send back.
pub(super) fn format_position(position: &Position) -> String {
    format!("{}-{}", position.history, position.sequence)
}

/// Reads what [`format_position`] wrote.
pub(super) fn parse_position(text: &str) -> Option<Position> {
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

impl<'a> From<&'a Swing> for Incident<'a> {
    fn from(swing: &'a Swing) -> Self {
        let bonk = swing.bonk.as_ref();
        Self {
            position: format_position(&swing.position),
            swung_at: time(swing.swung_at),
            gesture: swing.gesture.name(),
            coalesced: swing.coalesced,
            severity: bonk.severity,
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
    use std::convert::Infallible;

    use axum::body::to_bytes;
    use axum::response::{IntoResponse as _, Sse};
    use futures::stream;
    use serde_json::json;

    use super::{event, format_position, parse_position, time};
    use crate::history::Position;

    #[test]
    fn a_position_comes_back_as_it_went() {
        let position = Position {
            history: "a-b".into(),
            sequence: 7,
        };
        assert_eq!(format_position(&position), "a-b-7");
        assert_eq!(parse_position("a-b-7"), Some(position));
        for strange in ["", "7", "a-", "a-x", "a--1", "a-99999999999999999999"] {
            let parsed = parse_position(strange);
            assert!(
                parsed.is_none_or(|it| format_position(&it) == strange),
                "{strange}"
            );
        }
    }

    #[tokio::test]
    async fn an_event_is_one_line_of_data_whatever_is_in_it() {
        let hostile = json!({"comm": "a\n\nevent: x\r\ndata: 1\u{2028}"});
        let events = [Ok::<_, Infallible>(event("bonk", None, &hostile))];
        let body = Sse::new(stream::iter(events)).into_response().into_body();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let lines: Vec<&str> = std::str::from_utf8(&body).unwrap().lines().collect();
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
