//! The two buttons: `POST /api/bonk` and `POST /api/snooze`.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::guard::{Refusal, check_origin};
use super::view::time;
use crate::admission::MAX_SNOOZE;
use crate::app::App;
use crate::bonk::{Bonk, Severity};
use crate::inlets::web::body::{BodyError, read_body};

const MAX_BODY_BYTES: usize = 1024;

const BODY_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Buttons {
    app: App,
    /// The token was checked before.
    has_token: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BonkRequest {
    severity: Severity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnoozeRequest {
    /// From now on; zero ends the snooze.
    seconds: u64,
}

#[derive(Serialize)]
struct BonkResponse {
    outcome: String,
    message: String,
}

#[derive(Serialize)]
struct SnoozeResponse {
    snoozed_until: Option<String>,
}

#[derive(Serialize)]
struct ErrorResponse {
    error: String,
}

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

pub(in crate::inlets::web) fn routes(app: &App, has_token: bool) -> Router {
    let app = app.clone();
    Router::new()
        .route("/api/bonk", post(bonk))
        .route("/api/snooze", post(snooze))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Buttons { app, has_token })
}

async fn bonk(
    State(buttons): State<Buttons>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let request = match read::<BonkRequest>(&buttons, request).await {
        Ok(request) => request,
        Err(why) => return error_response(&why),
    };
    let bonk = Bonk {
        id: format!("page-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
        time: Some(Timestamp::now()),
        source: "page".to_owned(),
        summary: "Somebody pressed the button on the page".to_owned(),
        severity: request.severity,
        ..Bonk::default()
    };
    let answer = buttons.app.submit(bonk.bounded(), Some(peer.ip()));
    let response = BonkResponse {
        outcome: answer.outcome.name().to_ascii_lowercase(),
        message: answer.message,
    };
    json(StatusCode::OK, &response)
}

async fn snooze(State(buttons): State<Buttons>, request: Request) -> Response {
    let span = match read::<SnoozeRequest>(&buttons, request).await {
        Ok(request) => Duration::from_secs(request.seconds),
        Err(why) => return error_response(&why),
    };
    if span > MAX_SNOOZE {
        return error_response(&PressError::Long);
    }
    let snoozed_until = buttons.app.snooze(span).map(time);
    json(StatusCode::OK, &SnoozeResponse { snoozed_until })
}

/// Checks the headers before it reads the body.
async fn read<T: DeserializeOwned>(buttons: &Buttons, request: Request) -> Result<T, PressError> {
    check_origin(request.headers(), buttons.has_token)?;
    let body = read_body(request, BODY_DEADLINE).await?;
    Ok(serde_json::from_slice(&body)?)
}

fn error_response(why: &PressError) -> Response {
    let status = match why {
        PressError::Refused(refusal) => refusal.status(),
        PressError::Body(why) => why.status(),
        PressError::Json(_) | PressError::Long => StatusCode::BAD_REQUEST,
    };
    let error = why.to_string();
    json(status, &ErrorResponse { error })
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
