//! Composes the routes.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::guard::Guard;
use super::{health, hook, metrics, page};
use crate::app::App;

/// The answer of the original toy on `/`, without a line break.
const SHRUG: &str = r"¯\_(ツ)_/¯";

pub(super) fn router(app: &App, guard: &Guard) -> Router {
    let views = Router::new().route("/", get(root)).merge(page::views(app));
    // A scraper does not act, but can send a token as Alertmanager does.
    let actions = hook::routes(app).merge(metrics::routes(app));
    health::routes(app)
        .merge(guard.protect_views(views))
        .merge(guard.protect_actions(actions))
        .merge(guard.protect_buttons(page::buttons(app, guard.has_token())))
        .layer(map_response(add_headers))
}

/// The page for browsers, [`SHRUG`] for all others.
async fn root(headers: HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|kinds| kinds.to_str().ok());
    let mut response = if accept.is_some_and(|kinds| kinds.contains("text/html")) {
        page::page(&headers)
    } else {
        SHRUG.into_response()
    };
    let by = HeaderValue::from_static("accept");
    response.headers_mut().insert(header::VARY, by);
    response
}

async fn add_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
