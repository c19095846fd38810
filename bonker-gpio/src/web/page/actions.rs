//! The two buttons: `POST /api/bonk` and `POST /api/snooze`.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::guard::{Refusal, admit};
use super::view::time;
use crate::bonk::{Bonk, Severity};
use crate::desk::MAX_SNOOZE;
use crate::web::body::{BodyError, read_body};
use crate::web::connections::Peer;
use crate::web::site::Site;

pub(super) const MAX_BODY_BYTES: usize = 1024;

const BODY_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Press {
    severity: Pressed,
}

/// The names of [`Severity`] on this wire.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pressed {
    Warning,
    Critical,
    Kill,
    Node,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rest {
    /// From now on; zero wakes.
    seconds: u64,
}

#[derive(Serialize)]
struct Told {
    outcome: String,
    message: String,
}

#[derive(Serialize)]
struct Rested {
    snoozed_until: Option<String>,
}

#[derive(Serialize)]
struct Failed {
    error: String,
}

/// Why a press came to nothing.
#[derive(Debug, thiserror::Error)]
enum PressError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{0}: send {MAX_BODY_BYTES} bytes at most, and at once")]
    Body(#[from] BodyError),
    #[error("the body is not what this takes: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a snooze lasts {} seconds at most", MAX_SNOOZE.as_secs())]
    Long,
}

/// Swings as for an incident, by the same rules.
pub(super) async fn bonk(
    State(site): State<Site>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let press = match read::<Press>(&site, request).await {
        Ok(press) => press,
        Err(why) => return failed(&why),
    };
    let bonk = Bonk {
        id: format!("page-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
        time: Some(Timestamp::now()),
        source: "page".to_owned(),
        summary: "Somebody pressed the button on the page".to_owned(),
        severity: press.severity.into(),
        ..Bonk::default()
    };
    let answer = site.desk.submit(bonk.bounded(), Some(peer.0.ip()));
    let told = Told {
        outcome: answer.outcome.name().to_ascii_lowercase(),
        message: answer.message,
    };
    json(StatusCode::OK, &told)
}

/// Leaves the penguin in peace, or wakes it.
pub(super) async fn snooze(State(site): State<Site>, request: Request) -> Response {
    let rest = match read::<Rest>(&site, request).await {
        Ok(rest) => Duration::from_secs(rest.seconds),
        Err(why) => return failed(&why),
    };
    if rest > MAX_SNOOZE {
        return failed(&PressError::Long);
    }
    let snoozed_until = site.desk.snooze(rest).map(time);
    json(StatusCode::OK, &Rested { snoozed_until })
}

/// The body of who may press; nobody else's is read.
async fn read<T: DeserializeOwned>(site: &Site, request: Request) -> Result<T, PressError> {
    admit(request.headers(), site.locked)?;
    let body = read_body(request, BODY_DEADLINE).await?;
    Ok(serde_json::from_slice(&body)?)
}

fn failed(why: &PressError) -> Response {
    let status = match why {
        PressError::Refused(refusal) => refusal.status(),
        PressError::Body(why) => why.status(),
        PressError::Json(_) | PressError::Long => StatusCode::BAD_REQUEST,
    };
    let error = why.to_string();
    json(status, &Failed { error })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    // Strings alone: that cannot fail.
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

// === impl Severity ===

impl From<Pressed> for Severity {
    fn from(pressed: Pressed) -> Self {
        match pressed {
            Pressed::Warning => Self::Warning,
            Pressed::Critical => Self::Critical,
            Pressed::Kill => Self::Kill,
            Pressed::Node => Self::Node,
        }
    }
}
