//! The swings of a bonker, from some position on.

use jiff::Timestamp;
use proto::bonk::{GetStatusRequest, WatchBonksRequest, WatchBonksResponse};
use tonic::Streaming;

use super::ClientError;
use super::connect::{call_error, connect, with_deadline};
use crate::args::ServerArgs;
use crate::bonk::{Bonk, Malformed};
use crate::history::Position;
use crate::motion::Gesture;
use crate::wire;

/// One call of `WatchBonks`.
pub(crate) struct Swings {
    url: String,
    stream: Streaming<WatchBonksResponse>,
}

/// A swing of another bonker.
#[derive(Debug)]
pub(crate) struct HubSwing {
    /// A cause without a time has that of the swing.
    pub(crate) bonk: Result<Bonk, Malformed>,
    /// Where it is in that bonker's history.
    pub(crate) position: Position,
    /// Swings before it that are missing.
    pub(crate) missed: u64,
    pub(crate) swung_at: Option<Timestamp>,
    /// `None` for a gesture of a later version.
    pub(crate) gesture: Option<Gesture>,
    /// Further items of the same container.
    pub(crate) coalesced: u64,
}

/// Where a bonker's history ends.
#[derive(Debug)]
pub(crate) struct End {
    /// Swings in all.
    pub(crate) total: u64,
    pub(crate) last: Option<Timestamp>,
    position: Position,
}

// === impl Swings ===

impl Swings {
    /// Connects and watches on after `seen`; if nowhere, from where the history ends now.
    /// Returns that position, too.
    pub(crate) async fn watch_after(
        hub: &ServerArgs,
        seen: Option<Position>,
    ) -> Result<(Self, Position), ClientError> {
        let known = seen.clone();
        let (swings, end) =
            Self::connect(hub, |end| seen.unwrap_or_else(|| end.position.clone())).await?;
        Ok((swings, known.unwrap_or(end.position)))
    }

    /// As [`Swings::watch_after`]; if `seen` is nowhere, the last `limit` swings come first.
    pub(crate) async fn watch_latest(
        server: &ServerArgs,
        seen: Option<Position>,
        limit: u64,
    ) -> Result<(Self, End), ClientError> {
        Self::connect(server, |end| {
            let before = || Position {
                sequence: end.total.saturating_sub(limit),
                ..Position::default()
            };
            seen.unwrap_or_else(before)
        })
        .await
    }

    /// Connects and watches from now on.
    pub(super) async fn watch_live(server: &ServerArgs) -> Result<Self, ClientError> {
        let url = server.url.clone();
        let call = async {
            let mut client = connect(server).await?;
            let watched = client.watch_bonks(WatchBonksRequest::default()).await;
            Ok(watched.map_err(call_error(&url))?.into_inner())
        };
        let stream = with_deadline(&url, call).await?;
        Ok(Self { url, stream })
    }

    async fn connect(
        server: &ServerArgs,
        after: impl FnOnce(&End) -> Position,
    ) -> Result<(Self, End), ClientError> {
        let url = &server.url;
        let call = async {
            let mut client = connect(server).await?;
            let status = client.get_status(GetStatusRequest {}).await;
            let status = status.map_err(call_error(url))?.into_inner();
            let end = End {
                total: status.total_swings,
                last: status.last_swing_at.and_then(wire::timestamp),
                position: status.position.map(wire::position).unwrap_or_default(),
            };
            let after = Some(wire::wire_position(&after(&end)));
            let watched = client.watch_bonks(WatchBonksRequest { after }).await;
            Ok((watched.map_err(call_error(url))?.into_inner(), end))
        };
        let (stream, end) = with_deadline(url, call).await?;
        let url = url.clone();
        Ok((Self { url, stream }, end))
    }

    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<HubSwing, ClientError> {
        self.next_message().await.map(hub_swing)
    }

    pub(super) async fn next_message(&mut self) -> Result<WatchBonksResponse, ClientError> {
        match self.stream.message().await {
            Ok(Some(swing)) => Ok(swing),
            Ok(None) => Err(ClientError::Ended {
                url: self.url.clone(),
            }),
            Err(status) => Err(ClientError::Broken {
                url: self.url.clone(),
                source: status.into(),
            }),
        }
    }
}

fn hub_swing(swing: WatchBonksResponse) -> HubSwing {
    let swung_at = swing.swung_at.and_then(wire::timestamp);
    let gesture = wire::known_gesture(swing.gesture());
    let bonk = wire::read(swing.item).map(|bonk| Bonk {
        time: bonk.time.or(swung_at),
        ..bonk
    });
    HubSwing {
        bonk,
        position: swing.position.map(wire::position).unwrap_or_default(),
        missed: swing.missed,
        swung_at,
        gesture,
        coalesced: swing.coalesced,
    }
}
