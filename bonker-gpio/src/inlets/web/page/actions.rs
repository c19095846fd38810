//! The two buttons: `POST /api/bonk` and `POST /api/snooze`.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::guard::check_origin;
use super::view::time;
use crate::admission::MAX_SNOOZE;
use crate::app::App;
use crate::bonk::{Bonk, Severity};
use crate::inlets::web::refusal::{Refusal, read_body};

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
) -> Result<Response, Response> {
    let request: BonkRequest = read(&buttons, request).await.map_err(|why| refuse(&why))?;
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
    Ok(json(StatusCode::OK, &response))
}

async fn snooze(State(buttons): State<Buttons>, request: Request) -> Result<Response, Response> {
    let request: SnoozeRequest = read(&buttons, request).await.map_err(|why| refuse(&why))?;
    let span = Duration::from_secs(request.seconds);
    if span > MAX_SNOOZE {
        let most = MAX_SNOOZE.as_secs();
        let why = format!("a snooze lasts {most} seconds at most");
        return Err(refuse(&Refusal::new(StatusCode::BAD_REQUEST, why)));
    }
    let until = buttons.app.snooze(span).map(time);
    Ok(json(StatusCode::OK, &json!({"snoozed_until": until})))
}

/// Checks the headers before it reads the body.
async fn read<T: DeserializeOwned>(buttons: &Buttons, request: Request) -> Result<T, Refusal> {
    check_origin(request.headers(), buttons.has_token)?;
    let advice = format!("send {MAX_BODY_BYTES} bytes at most");
    let body = read_body(request, BODY_DEADLINE, &advice).await?;
    serde_json::from_slice(&body).map_err(|why| {
        let why = format!("the body is not what this takes: {why}");
        Refusal::new(StatusCode::BAD_REQUEST, why)
    })
}

fn refuse(refusal: &Refusal) -> Response {
    json(refusal.status, &json!({"error": refusal.why}))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    // Strings alone: that cannot fail.
    let text = serde_json::to_string(value).unwrap_or_default();
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, text).into_response()
}
