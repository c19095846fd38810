//! `/live` and `/ready`, for probes.

use axum::extract::State;
use axum::http::StatusCode;

use super::site::Site;

/// The process answers.
pub(super) async fn live() -> &'static str {
    "yes\n"
}

/// The boot motion is done, and the server is not stopping.
pub(super) async fn ready(State(site): State<Site>) -> (StatusCode, &'static str) {
    if site.is_ready() {
        (StatusCode::OK, "yes\n")
    } else if site.stopping.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n")
    } else {
        let why = "the servo is on its way to rest, once, at the start\n";
        (StatusCode::SERVICE_UNAVAILABLE, why)
    }
}
