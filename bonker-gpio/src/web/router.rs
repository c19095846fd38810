//! Which path is whose.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::hook::{self, MAX_HOOK_BYTES};
use super::site::Site;
use super::{health, metrics, page, shrug};

/// Every route there is.
pub(super) fn router(site: Site) -> Router {
    let hook = post(hook::post).layer(DefaultBodyLimit::max(MAX_HOOK_BYTES));
    Router::new()
        .route("/", get(root))
        .route("/hook", hook)
        .merge(page::routes())
        .route("/live", get(health::live))
        .route("/metrics", get(metrics::metrics))
        .route("/ready", get(health::ready))
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
