//! `/live` and `/ready`, for probes.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::app::App;

pub(super) fn routes(app: &App) -> Router {
    Router::new()
        .route("/live", get(async || "yes\n"))
        .route("/ready", get(ready))
        .with_state(app.clone())
}

async fn ready(State(app): State<App>) -> (StatusCode, &'static str) {
    if app.is_ready() {
        (StatusCode::OK, "yes\n")
    } else if app.stopping().is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n")
    } else {
        let why = "the servo is on its way to rest, once, at the start\n";
        (StatusCode::SERVICE_UNAVAILABLE, why)
    }
}
