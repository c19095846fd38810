//! Which path is whose.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::guard::Guard;
use super::hook::{self, MAX_HOOK_BYTES};
use super::site::Site;
use super::{health, metrics, page, shrug};

/// Every route there is, for whom `guard` lets through to it.
pub(super) fn router(site: Site, guard: &Guard) -> Router {
    let probes = Router::new()
        .route("/live", get(health::live))
        .route("/ready", get(health::ready));
    let watching = Router::new().route("/", get(root)).merge(page::watching());
    let hook = post(hook::post).layer(DefaultBodyLimit::max(MAX_HOOK_BYTES));
    let acting = Router::new()
        .route("/hook", hook)
        // Who scrapes does not act, but can show a token as Alertmanager does.
        .route("/metrics", get(metrics::metrics));
    probes
        .merge(guard.watching(watching))
        .merge(guard.acting(acting))
        .merge(guard.pressing(page::pressing()))
        .layer(map_response(as_said))
        .with_state(site)
}

/// People get the page, and everybody else a shrug.
async fn root(headers: HeaderMap) -> Response {
    let asks = headers
        .get(header::ACCEPT)
        .and_then(|kinds| kinds.to_str().ok());
    let mut response = if asks.is_some_and(|kinds| kinds.contains("text/html")) {
        page::page(&headers)
    } else {
        shrug::SHRUG.into_response()
    };
    let by = HeaderValue::from_static("accept");
    response.headers_mut().insert(header::VARY, by);
    response
}

/// What comes is what the header says, and as of now.
async fn as_said(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
