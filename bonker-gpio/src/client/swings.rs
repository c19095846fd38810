//! The swings of a bonker, across broken connections.

use std::time::Duration;

use jiff::Timestamp;
use proto::bonk::{GetStatusRequest, WatchBonksRequest, WatchBonksResponse};
use service::backoff::Backoff;
use tokio::time::{Instant, sleep_until};
use tonic::Streaming;

use super::ClientError;
use super::connect::call;
use crate::args::ServerArgs;
use crate::bonk::Bonk;
use crate::history::Position;
use crate::motion::Gesture;
use crate::wire;

/// The first wait before a stream is opened again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Which swings come.
#[derive(Clone, Debug)]
pub(crate) enum Begin {
    /// Those from now on; those of a break are left out.
    Live,
    /// Those after a position; if nowhere, after the end of the history.
    After(Option<Position>),
    /// The last of the history, and all after them.
    Latest(u64),
}

/// Connects, and connects again after a pause that grows with each failure.
pub(crate) struct Swings {
    server: ServerArgs,
    begin: Begin,
    stream: Option<Streaming<WatchBonksResponse>>,
    backoff: Backoff,
    connect_at: Instant,
}

#[derive(Debug)]
pub(crate) enum Event {
    /// The server has accepted the call.
    Connected(End),
    Swing(Box<HubSwing>),
}

/// A swing of another bonker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubSwing {
    /// Unchecked.
    pub(crate) bonk: Bonk,
    /// Swings since that bonker started.
    pub(crate) swings: u64,
    /// Where it is in that bonker's history.
    pub(crate) position: Position,
    /// Swings before it that are missing.
    pub(crate) missed: u64,
    pub(crate) swung_at: Option<Timestamp>,
    /// That of a later version counts as a bonk.
    pub(crate) gesture: Gesture,
    /// Further items of the same container.
    pub(crate) coalesced: u64,
}

/// Where a bonker's history ends; not requested for [`Begin::Live`].
#[derive(Debug, Default)]
pub(crate) struct End {
    /// Swings in all.
    pub(crate) total: u64,
    pub(crate) last: Option<Timestamp>,
    pub(crate) position: Position,
}

// === impl Swings ===

impl Swings {
    pub(crate) fn new(server: &ServerArgs, begin: Begin) -> Self {
        Self {
            server: server.clone(),
            begin,
            stream: None,
            backoff: Backoff::starting_at(RETRY_AFTER),
            connect_at: Instant::now(),
        }
    }

    /// The next swing, or a new connection. After an error the next call connects again. Cancel
    /// safe.
    pub(crate) async fn next(&mut self) -> Result<Event, ClientError> {
        let event = match &mut self.stream {
            Some(stream) => next_swing(stream, &self.server.url).await,
            None => self.connect().await,
        };
        match &event {
            Ok(Event::Connected(_)) => self.backoff.reset(),
            Ok(Event::Swing(swing)) if !matches!(self.begin, Begin::Live) => {
                self.begin = Begin::After(Some(swing.position.clone()));
            }
            Ok(Event::Swing(_)) => (),
            Err(_) => {
                self.stream = None;
                self.connect_at = Instant::now() + self.backoff.next_wait(fastrand::f64());
            }
        }
        event
    }

    async fn connect(&mut self) -> Result<Event, ClientError> {
        sleep_until(self.connect_at).await;
        let begin = &self.begin;
        let watch = call(&self.server, async |client| {
            let mut end = End::default();
            if !matches!(begin, Begin::Live) {
                let status = client.get_status(GetStatusRequest {}).await?.into_inner();
                end = End {
                    total: status.total_swings,
                    last: status.last_swing_at.and_then(wire::timestamp),
                    position: status.position.map(wire::position).unwrap_or_default(),
                };
            }
            let after = match begin {
                Begin::Live => None,
                Begin::After(None) => Some(end.position.clone()),
                Begin::After(Some(seen)) => Some(seen.clone()),
                Begin::Latest(limit) => Some(Position {
                    sequence: end.total.saturating_sub(*limit),
                    ..Position::default()
                }),
            };
            let after = after.as_ref().map(wire::wire_position);
            let watched = client.watch_bonks(WatchBonksRequest { after }).await?;
            Ok((watched.into_inner(), end))
        });
        let (stream, end) = watch.await?;
        self.stream = Some(stream);
        if matches!(self.begin, Begin::After(None)) {
            self.begin = Begin::After(Some(end.position.clone()));
        }
        Ok(Event::Connected(end))
    }
}

async fn next_swing(
    stream: &mut Streaming<WatchBonksResponse>,
    url: &str,
) -> Result<Event, ClientError> {
    let url = || url.to_owned();
    match stream.message().await {
        Ok(Some(swing)) => Ok(Event::Swing(Box::new(swing.into()))),
        Ok(None) => Err(ClientError::Ended { url: url() }),
        Err(status) => Err(ClientError::Broken {
            url: url(),
            source: status.into(),
        }),
    }
}

// === impl HubSwing ===

impl From<WatchBonksResponse> for HubSwing {
    fn from(swing: WatchBonksResponse) -> Self {
        Self {
            gesture: wire::known_gesture(swing.gesture()).unwrap_or(Gesture::Bonk),
            bonk: wire::bonk(swing.item.unwrap_or_default()),
            swings: swing.swings,
            position: swing.position.map(wire::position).unwrap_or_default(),
            missed: swing.missed,
            swung_at: swing.swung_at.and_then(wire::timestamp),
            coalesced: swing.coalesced,
        }
    }
}
