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
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::view::{
    Bonked, Counts, Incident, Snoozed, State, event, gestures, parse_position, time,
};
use crate::app::App;
use crate::history::{Position, Swing};
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
    swings: Receiver<Swing>,
    snoozes: watch::Receiver<Option<Timestamp>>,
    /// The latest swing that this page has.
    sent: Position,
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
        // Before the history is read: a swing meanwhile is in both, and sent once.
        let mut listener = Self {
            swings: app.watch(),
            snoozes: app.watch_snoozes(),
            app,
            sent: Position::default(),
            ready: VecDeque::from([Event::default().retry(RETRY)]),
            _permit: permit,
        };
        match last {
            Some(last) if last.history == listener.app.history().id() => {
                listener.sent = last;
                listener.push_state(false);
                listener.catch_up();
            }
            _ => listener.push_state(true),
        }
        listener
    }

    /// The next event; `None` when the server stops.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((Ok(event), self));
            }
            tokio::select! {
                biased;
                () = self.app.stopping().cancelled() => return None,
                swing = self.swings.recv() => match swing {
                    Ok(swing) if swing.position.sequence <= self.sent.sequence => (),
                    Ok(swing) => self.push_swing(&swing, false),
                    Err(RecvError::Lagged(_)) => self.catch_up(),
                    Err(RecvError::Closed) => return None,
                },
                Ok(()) = self.snoozes.changed() => self.push_snooze(),
            }
        }
    }

    fn push_swing(&mut self, swing: &Swing, behind: bool) {
        let bonked = Bonked {
            counts: self.counts(),
            incident: Incident::from(swing),
            behind,
        };
        self.sent = swing.position.clone();
        self.ready
            .push_back(event("bonk", Some(&self.sent), &bonked));
    }

    /// Sends the swings after the latest one.
    fn catch_up(&mut self) {
        let replay = self.app.history().swings_after(&self.sent, SHOWN + 1);
        // Some are no longer in the history, or there are more than a page shows.
        let count = u64::try_from(replay.swings.len()).unwrap_or(u64::MAX);
        let last = replay.swings.last();
        let whole = last.is_none_or(|last| last.position.sequence == replay.after + count);
        if !whole || replay.swings.len() > SHOWN {
            self.push_state(true);
            return;
        }
        let last = replay.swings.len().saturating_sub(1);
        for (n, swing) in replay.swings.iter().enumerate() {
            self.push_swing(swing, n < last);
        }
    }

    fn push_state(&mut self, with_swings: bool) {
        let history = self.app.history();
        let recent = with_swings.then(|| history.recent(SHOWN));
        if let Some(recent) = &recent {
            let none = || Position {
                history: history.id(),
                sequence: 0,
            };
            self.sent = recent.first().map_or_else(none, |it| it.position.clone());
        }
        let state = State {
            version: env!("CARGO_PKG_VERSION"),
            backend: self.app.backend().name,
            backend_reason: &self.app.backend().reason,
            gestures: gestures(self.app.poses()),
            counts: self.counts(),
            incidents: recent
                .as_ref()
                .map(|recent| recent.iter().map(Incident::from).collect()),
        };
        self.ready
            .push_back(event("state", Some(&self.sent), &state));
    }

    fn push_snooze(&mut self) {
        let until = *self.snoozes.borrow_and_update();
        let snoozed = Snoozed {
            now: time(Timestamp::now()),
            snoozed_until: until.map(time),
        };
        self.ready.push_back(event("snooze", None, &snoozed));
    }

    fn counts(&self) -> Counts {
        let board = self.app.history().leaderboard(LEADERS);
        Counts::new(&self.app.status(), board, Timestamp::now())
    }
}
