//! `POST /hook`: Alertmanager's webhook. Answers at once; the servo swings later.
//!
//! Alertmanager tries again after a 5xx only, and then sends the whole payload: what was
//! taken the first time is known by its id.

mod alert;
mod fingerprint;
mod object;
mod payload;

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use tracing::warn;

use super::body::{BodyError, read_body};
use super::connections::Peer;
use super::site::Site;
use crate::desk::Outcome;
pub use payload::MAX_ALERTS;
use payload::{PayloadError, bonks};

/// The largest body, in bytes: [`MAX_ALERTS`] of a usual length.
pub const MAX_HOOK_BYTES: usize = 1024 * 1024;

/// How many bodies may be on their way at once.
pub const MAX_HOOKS: usize = 16;

/// And of those from one address: who dawdles leaves room for others.
pub const MAX_HOOKS_PER_PEER: usize = 4;

/// A body has come in whole after this, or is refused.
pub const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Who sent the bonks, by their own account.
const SOURCE: &str = "alertmanager";

/// What is said to whom, with the status that goes with it.
type Refusal = (StatusCode, String);

/// 200 `OK`, when nothing of the payload has to be sent again.
pub(super) async fn post(
    State(site): State<Site>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    match take(&site, peer, request).await {
        Ok(()) => {
            site.hook_counts.count(StatusCode::OK.as_u16());
            "OK".into_response()
        }
        Err((status, why)) => {
            site.hook_counts.count(status.as_u16());
            if let Some(times) = site.hooks_refused.count() {
                let status = status.as_u16();
                warn!(%peer, status, why, times, "refused a payload of the hook");
            }
            (status, why + "\n").into_response()
        }
    }
}

async fn take(site: &Site, peer: std::net::SocketAddr, request: Request) -> Result<(), Refusal> {
    let later = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, why.to_owned());
    if site.stopping.is_cancelled() {
        return Err(later("the server is stopping"));
    }
    if !is_json(request.headers()) {
        let why = "send application/json, as Alertmanager does";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why.to_owned()));
    }
    // What is packed is no JSON, which would be said of it otherwise.
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let why = "send it without content-encoding, as Alertmanager does";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why.to_owned()));
    }
    let guest = site.hook_peers.admit(peer.ip());
    let _guest = guest.ok_or_else(|| {
        let most = MAX_HOOKS_PER_PEER;
        later(&format!(
            "{most} payloads of this address are on their way already: try again"
        ))
    })?;
    let place = site.hooks.try_take();
    let _place = place.ok_or_else(|| later("too many payloads are on their way: try again"))?;
    let body = body(request).await?;
    let bonks = bonks(&body, Timestamp::now()).map_err(|why| {
        let status = match why {
            PayloadError::Many(_) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, why.to_string())
    })?;
    let mut left = 0_usize;
    for bonk in bonks {
        let answer = site.desk.submit(Ok(bonk), Some(peer.ip()));
        if matches!(answer.outcome, Outcome::Full | Outcome::RateLimited) {
            left += 1;
        }
    }
    if left > 0 {
        return Err(later(&format!(
            "no room for {left} of the alerts: send them again"
        )));
    }
    Ok(())
}

async fn body(request: Request) -> Result<Bytes, Refusal> {
    read_body(request, BODY_DEADLINE).await.map_err(|why| {
        let words = match why {
            BodyError::Large => {
                format!("over {MAX_HOOK_BYTES} bytes: set max_alerts of the receiver")
            }
            why => why.to_string(),
        };
        (why.status(), words)
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}
