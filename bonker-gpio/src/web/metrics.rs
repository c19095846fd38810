//! `/metrics`, for Prometheus.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::site::Site;
use crate::metrics::{CONTENT_TYPE, Readings, encode};

/// `OpenMetrics` 1.0 text, as of now.
pub(super) async fn metrics(State(site): State<Site>) -> Response {
    let text = encode(&Readings {
        status: site.desk.status(),
        watchers: site.desk.watchers(),
        swings: site.desk.counts(),
        hooks: &site.hook_counts,
        following: site.desk.following(),
        backend: &site.backend,
    });
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE))];
    match text {
        Ok(text) => (content_type, text).into_response(),
        // Writing to a String does not fail.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
