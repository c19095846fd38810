//! Parses the payload of Alertmanager's webhook, version "4".
//!
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config> has the format.

use jiff::Timestamp;
use serde::Deserialize;

use super::alert::{Alert, AlertError, SOURCE, State, bonk};
use super::object::Object;
use crate::bonk::Bonk;
use crate::text::escape;

/// The most alerts of one payload. `max_alerts` of the receiver keeps Alertmanager below it.
pub const MAX_ALERTS: usize = 1024;

/// The reason of a repeated notification, in newer Alertmanagers.
const REPEATED: &str = "repeat interval elapsed";

#[derive(Debug, thiserror::Error)]
pub(super) enum PayloadError {
    #[error("not an Alertmanager payload: {0}")]
    Json(String),
    #[error("not an Alertmanager payload of version 4, but of {0:?}")]
    Version(String),
    #[error(
        "{0} alerts in one payload, and {MAX_ALERTS} are the most: set max_alerts of the receiver"
    )]
    Many(usize),
    #[error("alert {number} of the payload cannot be used: {why}")]
    Alert {
        /// From 1.
        number: usize,
        why: AlertError,
    },
}

/// The fields that are used. All others are ignored.
#[derive(Deserialize)]
struct Payload {
    status: State,
    version: Option<String>,
    notification_reason: Option<String>,
    alerts: Option<Vec<Object<Alert>>>,
}

/// The bonks in `body`, one for each firing alert; none if all are resolved, or if it only
/// repeats a notification. A bare `{"status": "firing"}` by hand is one bonk, as it was for the
/// original toy; `now` makes its id.
pub(super) fn bonks(body: &[u8], now: Timestamp) -> Result<Vec<Bonk>, PayloadError> {
    let Object::<Payload>(payload) = serde_json::from_slice(body)
        // It quotes what came.
        .map_err(|why| PayloadError::Json(escape(&why.to_string())))?;
    if let Some(version) = payload.version.filter(|version| version != "4") {
        let shown: String = version.chars().take(16).collect();
        return Err(PayloadError::Version(escape(&shown)));
    }
    let firing = payload.status == State::Firing;
    let Some(alerts) = payload.alerts else {
        return Ok(firing.then(|| by_hand(now)).into_iter().collect());
    };
    if alerts.len() > MAX_ALERTS {
        return Err(PayloadError::Many(alerts.len()));
    }
    let mut bonks = Vec::new();
    for (Object(alert), number) in alerts.into_iter().zip(1..) {
        let bonk =
            bonk(alert, payload.status).map_err(|why| PayloadError::Alert { number, why })?;
        bonks.extend(bonk);
    }
    // After the alerts: a malformed payload is refused, repeated or not.
    if payload.notification_reason.as_deref() == Some(REPEATED) {
        bonks.clear();
    }
    Ok(bonks)
}

fn by_hand(now: Timestamp) -> Bonk {
    Bonk {
        id: format!("hook-{now}"),
        time: Some(now),
        source: SOURCE.to_owned(),
        summary: "somebody posted to the hook by hand".to_owned(),
        ..Bonk::default()
    }
}

#[cfg(test)]
mod tests;
