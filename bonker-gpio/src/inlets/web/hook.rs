//! `POST /hook`: Alertmanager's webhook. Answers at once; the servo swings later.
//!
//! Alertmanager retries after a 5xx only, and then sends the whole payload: items that were
//! accepted the first time are recognised by their ids.

mod alert;
mod fingerprint;
mod object;
mod payload;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use jiff::Timestamp;
use tracing::warn;

use super::refusal::{Refusal, read_body, require_json};
use crate::admission::Outcome;
use crate::app::App;
use crate::net::limits::{PeerLimit, Throttle, TotalLimit};
pub use payload::MAX_ALERTS;
use payload::{PayloadError, bonks};

/// The largest body, in bytes: [`MAX_ALERTS`] of a usual length.
pub const MAX_HOOK_BYTES: usize = 1024 * 1024;

/// Bodies that are read at a time.
pub const MAX_HOOKS: usize = 16;

/// Of these, bodies from one address, so that a slow sender leaves room for others.
pub const MAX_HOOKS_PER_PEER: usize = 4;

/// For a whole body.
pub const BODY_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Hook {
    app: App,
    total: TotalLimit,
    peers: PeerLimit,
    refused: Throttle,
}

pub(super) fn routes(app: &App) -> Router {
    let hook = Hook {
        app: app.clone(),
        total: TotalLimit::new("payloads of the hook", MAX_HOOKS),
        peers: PeerLimit::new("payloads of the hook", MAX_HOOKS_PER_PEER),
        refused: Throttle::default(),
    };
    let limit = DefaultBodyLimit::max(MAX_HOOK_BYTES);
    Router::new()
        .route("/hook", post(answer).layer(limit))
        .with_state(hook)
}

/// 200 `OK` if nothing of the payload has to be sent again.
async fn answer(
    State(hook): State<Hook>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let counters = &hook.app.counters().hooks;
    match submit(&hook, peer, request).await {
        Ok(()) => {
            counters.count(StatusCode::OK.as_u16());
            "OK".into_response()
        }
        Err(Refusal { status, why }) => {
            counters.count(status.as_u16());
            if let Some(times) = hook.refused.count() {
                let status = status.as_u16();
                warn!(%peer, status, why, times, "refused a payload of the hook");
            }
            (status, why + "\n").into_response()
        }
    }
}

async fn submit(hook: &Hook, peer: SocketAddr, request: Request) -> Result<(), Refusal> {
    let later = |why: String| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why);
    if hook.app.stopping().is_cancelled() {
        return Err(later("the server is stopping".to_owned()));
    }
    require_json(request.headers())?;
    // Before the body is parsed: compressed, it would be reported as no JSON.
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let why = "send it without content-encoding, as Alertmanager does";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let _of_peer = hook.peers.try_acquire(peer.ip()).ok_or_else(|| {
        let most = MAX_HOOKS_PER_PEER;
        later(format!(
            "{most} payloads of this address are on their way already: try again"
        ))
    })?;
    let permit = hook.total.try_acquire();
    let full = || later("too many payloads are on their way: try again".to_owned());
    let _permit = permit.ok_or_else(full)?;
    let advice = format!("send {MAX_HOOK_BYTES} bytes at most: set max_alerts of the receiver");
    let body = read_body(request, BODY_DEADLINE, &advice).await?;
    let bonks = bonks(&body, Timestamp::now()).map_err(|why| {
        let status = match why {
            PayloadError::Many(_) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Refusal::new(status, why.to_string())
    })?;
    let mut left = 0_usize;
    for bonk in bonks {
        let answer = hook.app.submit(Ok(bonk), Some(peer.ip()));
        if matches!(answer.outcome, Outcome::Full | Outcome::RateLimited) {
            left += 1;
        }
    }
    if left > 0 {
        let why = format!("no room for {left} of the alerts: send them again");
        return Err(later(why));
    }
    Ok(())
}
