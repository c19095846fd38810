//! A penguin anyone can watch: the page, its events, and its two buttons.
//!
//! `view` makes what is shown of what is known, `guard` says who may press: pure. `events`
//! and `actions` carry it. Everything the browser loads lies in `assets` and is compiled in.

mod actions;
mod assets;
mod events;
mod guard;
mod view;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use super::site::Site;
pub(super) use assets::page;
pub use events::MAX_LISTENERS;

/// What shows: all but `/` itself, which plain clients have too.
pub(super) fn watching() -> Router<Site> {
    assets::routes().route("/events", get(events::events))
}

/// What the buttons do.
pub(super) fn pressing() -> Router<Site> {
    Router::new()
        .route("/api/bonk", post(actions::bonk))
        .route("/api/snooze", post(actions::snooze))
        .layer(DefaultBodyLimit::max(actions::MAX_BODY_BYTES))
}
