//! `/events`: a page is told of every swing, and what it missed while it was away.
//!
//! A quiet stream sends nothing: whether the other end is still there is TCP's business.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use jiff::Timestamp;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::view::{Bonked, Counts, Incident, Snoozed, State, event, gestures, heard, time};
use crate::bounds::Place;
use crate::history::{Position, Swung};
use crate::web::site::Site;

/// How many pages may be open at a time. More are told to come back later.
pub const MAX_LISTENERS: usize = 256;

/// How many swings a page shows; one that missed more is told everything anew.
const SHOWN: usize = 50;

/// How many namespaces the leaderboard has.
const LEADERS: usize = 8;

/// A browser whose stream broke comes back after this, in ms.
const RETRY: &str = "retry: 2000\n\n";

/// What a browser that comes back has heard last (WHATWG HTML, server-sent events).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

struct Listener {
    site: Site,
    swings: Receiver<Swung>,
    snoozes: watch::Receiver<Option<Timestamp>>,
    /// The latest swing this page knows.
    told: Position,
    ready: VecDeque<Bytes>,
    #[expect(dead_code, reason = "held, not used")]
    place: Place,
}

/// Streams from now on, or from where the browser says it was.
pub(super) async fn events(Shared(site): Shared<Site>, headers: HeaderMap) -> Response {
    let Some(place) = site.listeners.try_take() else {
        let later = [(header::RETRY_AFTER, "15")];
        let why = "as many pages are open as may be\n";
        return (StatusCode::SERVICE_UNAVAILABLE, later, why).into_response();
    };
    let last = headers.get(LAST_EVENT_ID);
    let last = last.and_then(|id| id.to_str().ok()).and_then(heard);
    let listener = Listener::new(site, last, place);
    let frames = stream::unfold(listener, Listener::next);
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    response
}

// === impl Listener ===

impl Listener {
    fn new(site: Site, last: Option<Position>, place: Place) -> Self {
        // Before the history is read: what swings meanwhile is in both, and told once.
        let swings = site.desk.watch();
        let snoozes = site.desk.watch_snooze();
        let mut listener = Self {
            told: Position::default(),
            ready: VecDeque::from([Bytes::from_static(RETRY.as_bytes())]),
            site,
            swings,
            snoozes,
            place,
        };
        match last {
            Some(last) if last.history == listener.site.desk.history().id() => {
                listener.told = last;
                listener.tell_state(false);
                listener.catch_up();
            }
            _ => listener.tell_all(),
        }
        listener
    }

    /// The next frame; `None` when the server stops.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some((Ok(frame), self));
            }
            tokio::select! {
                biased;
                () = self.site.stopping.cancelled() => return None,
                swung = self.swings.recv() => match swung {
                    Ok(swung) if swung.position.sequence <= self.told.sequence => (),
                    Ok(swung) => self.tell(&swung, false),
                    Err(RecvError::Lagged(_)) => self.catch_up(),
                    Err(RecvError::Closed) => return None,
                },
                Ok(()) = self.snoozes.changed() => self.tell_snooze(),
            }
        }
    }

    fn tell(&mut self, swung: &Swung, behind: bool) {
        let bonked = Bonked {
            counts: self.counts(),
            incident: Incident::from(swung),
            behind,
        };
        self.told = swung.position.clone();
        self.ready
            .push_back(event("bonk", Some(&self.told), &bonked));
    }

    /// Tells what came after the latest swing that was told.
    fn catch_up(&mut self) {
        let replay = self.site.desk.history().after(&self.told, SHOWN + 1);
        // Some are no longer in the history, or there are more than a page shows.
        let count = u64::try_from(replay.swings.len()).unwrap_or(u64::MAX);
        let last = replay.swings.last();
        let whole = last.is_none_or(|last| last.position.sequence == replay.after + count);
        if !whole || replay.swings.len() > SHOWN {
            self.tell_all();
            return;
        }
        let last = replay.swings.len().saturating_sub(1);
        for (n, swung) in replay.swings.iter().enumerate() {
            self.tell(swung, n < last);
        }
    }

    fn tell_all(&mut self) {
        self.tell_state(true);
    }

    fn tell_state(&mut self, all: bool) {
        let history = self.site.desk.history();
        let recent = all.then(|| history.recent(SHOWN));
        if let Some(recent) = &recent {
            let none = || Position {
                history: history.id(),
                sequence: 0,
            };
            self.told = recent.first().map_or_else(none, |it| it.position.clone());
        }
        let state = State {
            version: env!("CARGO_PKG_VERSION"),
            backend: self.site.backend.name,
            backend_reason: &self.site.backend.reason,
            gestures: gestures(&self.site.poses),
            counts: self.counts(),
            incidents: recent
                .as_ref()
                .map(|recent| recent.iter().map(Incident::from).collect()),
        };
        self.ready
            .push_back(event("state", Some(&self.told), &state));
    }

    fn tell_snooze(&mut self) {
        let until = *self.snoozes.borrow_and_update();
        let snoozed = Snoozed {
            now: time(Timestamp::now()),
            snoozed_until: until.map(time),
        };
        self.ready.push_back(event("snooze", None, &snoozed));
    }

    fn counts(&self) -> Counts {
        let desk = &self.site.desk;
        let board = desk.history().leaderboard(LEADERS);
        Counts::new(&desk.status(), board, Timestamp::now())
    }
}
