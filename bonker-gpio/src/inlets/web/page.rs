//! The page with the penguin: its files, its events, and its two buttons.
//!
//! What the page shows (`view`) and which requests may press a button (`guard`) are pure;
//! `events` and `actions` carry them. Everything the browser loads is in `assets`, compiled in.

mod actions;
mod assets;
mod events;
mod guard;
mod view;

use axum::Router;

use crate::app::App;
pub(super) use actions::routes as buttons;
pub(super) use assets::page;
pub use events::MAX_LISTENERS;

/// All but `/` itself, which plain clients have too.
pub(super) fn views(app: &App) -> Router {
    assets::routes().merge(events::routes(app))
}
