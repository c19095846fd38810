//! `/events`: sends a page every swing, and those it missed while it was away.
//!
//! A quiet stream sends nothing: TCP notices a peer that is gone.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse as _, Response, Sse};
use axum::routing::get;
use futures::stream;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::view::{self, parse_position};
use crate::app::App;
use crate::history::{Position, Swing};
use crate::inlets::watcher::Watcher;
use crate::net::limits::{Permit, TotalLimit};

/// Pages that are open at a time. More get a 503.
pub const MAX_LISTENERS: usize = 256;

/// Swings on a page; a page that missed more gets the whole state again.
const SHOWN: usize = 50;

/// Namespaces on the leaderboard.
const LEADERS: usize = 8;

/// A browser reconnects after this.
const RETRY: Duration = Duration::from_secs(2);

/// The last event that a reconnecting browser received (WHATWG HTML, server-sent events).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Clone)]
struct Events {
    app: App,
    listeners: TotalLimit,
}

struct Listener {
    app: App,
    watcher: Watcher,
    snoozes: watch::Receiver<Option<Timestamp>>,
    ready: VecDeque<Event>,
    _permit: Permit,
}

pub(super) fn routes(app: &App) -> Router {
    let events = Events {
        app: app.clone(),
        listeners: TotalLimit::new("event streams", MAX_LISTENERS),
    };
    Router::new()
        .route("/events", get(stream_events))
        .with_state(events)
}

/// From now on, or from the browser's last event.
async fn stream_events(Shared(events): Shared<Events>, headers: HeaderMap) -> Response {
    let Some(permit) = events.listeners.try_acquire() else {
        let later = [(header::RETRY_AFTER, "15")];
        let why = "as many pages are open as may be\n";
        return (StatusCode::SERVICE_UNAVAILABLE, later, why).into_response();
    };
    let last = headers.get(LAST_EVENT_ID);
    let last = last
        .and_then(|id| id.to_str().ok())
        .and_then(parse_position);
    let listener = Listener::new(events.app, last, permit);
    let mut response = Sse::new(stream::unfold(listener, Listener::next)).into_response();
    // In place of `no-cache`: what is private is not kept either.
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

// === impl Listener ===

impl Listener {
    fn new(app: App, last: Option<Position>, permit: Permit) -> Self {
        let (watcher, state) = begin(&app, last);
        Self {
            watcher,
            snoozes: app.watch_snoozes(),
            app,
            ready: VecDeque::from([Event::default().retry(RETRY), state]),
            _permit: permit,
        }
    }

    /// The next event; `None` when the server stops.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let event = if let Some(event) = self.ready.pop_front() {
            event
        } else {
            tokio::select! {
                biased;
                () = self.app.stopping().cancelled() => return None,
                next = self.watcher.next() => {
                    let (swing, missed) = next?;
                    self.swing_event(&swing, missed)
                }
                Ok(()) = self.snoozes.changed() => {
                    view::snooze_event(Timestamp::now(), *self.snoozes.borrow_and_update())
                }
            }
        };
        Some((Ok(event), self))
    }

    /// The whole state in its place, if this page missed more than it shows.
    fn swing_event(&mut self, swing: &Swing, missed: u64) -> Event {
        if missed > 0 || is_far_behind(&self.app, &swing.position) {
            let (watcher, state) = begin(&self.app, None);
            self.watcher = watcher;
            return state;
        }
        view::swing_event(counts(&self.app), swing, self.watcher.has_more())
    }
}

/// The state for a page that has the swings up to `last`, or none, and a watcher of those after it.
fn begin(app: &App, last: Option<Position>) -> (Watcher, Event) {
    let history = app.history();
    let last = last.filter(|last| last.history == history.id() && !is_far_behind(app, last));
    let recent = last.is_none().then(|| history.recent(SHOWN));
    let newest = recent.iter().flatten().next();
    let position = last
        .or_else(|| newest.map(|swing| swing.position.clone()))
        .unwrap_or_else(|| Position {
            history: history.id(),
            sequence: 0,
        });
    let state = view::state_event(app, counts(app), &position, recent.as_deref());
    (Watcher::new(app, Some(position)), state)
}

/// Whether more swings came after `position` than a page shows.
fn is_far_behind(app: &App, position: &Position) -> bool {
    let behind = app.history().total().saturating_sub(position.sequence);
    behind > SHOWN as u64
}

fn counts(app: &App) -> Value {
    let board = app.history().leaderboard(LEADERS);
    view::counts(&app.status(), &board, Timestamp::now())
}
