//! The page's events, as JSON. Pure. Strings of peers are sent as they came: the page shows them
//! as text only.

use axum::response::sse::Event;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::app::{App, Status};
use crate::history::{Position, Swing};
use crate::motion::Pose;

/// Everything, for a new page, or one that missed too many swings; without `swings`, newest
/// first, for a page that has them.
pub(super) fn state_event(
    app: &App,
    counts: Value,
    position: &Position,
    swings: Option<&[Swing]>,
) -> Event {
    // Place (0 at rest, 1 at the strike) and time there in ms, one after the other.
    let pose = |pose: &Pose| json!([pose.place, pose.hold.as_millis()]);
    let gestures = app.poses().iter().map(|(gesture, poses)| {
        let poses = poses.iter().map(pose).collect();
        (gesture.name().to_owned(), Value::Array(poses))
    });
    let mut state = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "backend": app.backend().name,
        "backend_reason": app.backend().reason,
        "gestures": Value::Object(gestures.collect()),
    });
    if let Some(swings) = swings {
        let incidents: Vec<Value> = swings.iter().map(incident).collect();
        extend(&mut state, json!({"incidents": incidents}));
    }
    extend(&mut state, counts);
    event("state", Some(position), &state)
}

/// Later swings follow one that is `behind`: it is not played.
pub(super) fn swing_event(counts: Value, swing: &Swing, behind: bool) -> Event {
    let mut bonked = json!({"incident": incident(swing), "behind": behind});
    extend(&mut bonked, counts);
    event("bonk", Some(&swing.position), &bonked)
}

pub(super) fn snooze_event(now: Timestamp, until: Option<Timestamp>) -> Event {
    let snooze = json!({"now": time(now), "snoozed_until": until.map(time)});
    event("snooze", None, &snooze)
}

/// What both a state and a swing have.
pub(super) fn counts(status: &Status, board: &[(String, u64)], now: Timestamp) -> Value {
    let leader =
        |(namespace, bonks): &(String, u64)| json!({"namespace": namespace, "bonks": bonks});
    json!({
        "now": time(now),
        "total": status.total_swings,
        "last_swing_at": status.last_swing_at.map(time),
        "snoozed_until": status.snoozed_until.map(time),
        "leaderboard": board.iter().map(leader).collect::<Vec<_>>(),
    })
}

/// A swing and its reason.
fn incident(swing: &Swing) -> Value {
    let bonk = &swing.bonk;
    json!({
        "position": format_position(&swing.position),
        "swung_at": time(swing.swung_at),
        "gesture": swing.gesture.name(),
        "coalesced": swing.coalesced,
        "severity": bonk.severity,
        "source": bonk.source,
        "node": bonk.node,
        "namespace": bonk.namespace,
        "pod": bonk.pod,
        "container": bonk.container,
        "comm": bonk.comm,
        "summary": bonk.summary,
        // The last minute's memory, in thousandths of the limit.
        "usage": bonk.usage_permille,
        "verdict": bonk.verdict,
    })
}

fn extend(fields: &mut Value, more: Value) {
    if let (Value::Object(fields), Value::Object(more)) = (fields, more) {
        fields.extend(more);
    }
}

/// One server-sent event. A reconnecting browser sends its position back.
fn event(name: &str, position: Option<&Position>, data: &Value) -> Event {
    let event = match position {
        Some(position) => Event::default().id(format_position(position)),
        None => Event::default(),
    };
    event.event(name).data(data.to_string())
}

/// The id of an event, which browsers send back.
fn format_position(position: &Position) -> String {
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
