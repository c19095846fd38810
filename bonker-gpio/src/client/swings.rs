//! The swings of a bonker, from some position on.

use jiff::Timestamp;
use proto::bonk::{GetStatusRequest, WatchBonksRequest, WatchBonksResponse};
use tonic::Streaming;

use super::ClientError;
use super::connect::{connect, in_time, refused};
use crate::args::ServerArgs;
use crate::bonk::{Bonk, Malformed};
use crate::history::Position;
use crate::wire;

/// One call of `WatchBonks`.
pub(crate) struct Swings {
    url: String,
    stream: Streaming<WatchBonksResponse>,
}

/// A swing of another bonker.
#[derive(Debug)]
pub(crate) struct Told {
    /// Why it swung. A cause without a time has that of the swing.
    pub(crate) bonk: Result<Bonk, Malformed>,
    /// Where it is in that bonker's history.
    pub(crate) position: Position,
    /// Swings before it that were not told of.
    pub(crate) missed: u64,
}

// === impl Swings ===

impl Swings {
    /// Connects and watches on after `seen`; if nowhere, from where the history ends now.
    /// Returns that position, too.
    pub(crate) async fn after(
        hub: &ServerArgs,
        seen: Option<Position>,
    ) -> Result<(Self, Position), ClientError> {
        let url = &hub.url;
        let call = async {
            let mut client = connect(hub).await?;
            let seen = match seen {
                Some(seen) => seen,
                None => {
                    let status = client.get_status(GetStatusRequest {}).await;
                    let end = status.map_err(refused(url))?.into_inner().position;
                    end.map(wire::position).unwrap_or_default()
                }
            };
            let after = Some(wire::wire_position(&seen));
            let watched = client.watch_bonks(WatchBonksRequest { after }).await;
            Ok((watched.map_err(refused(url))?.into_inner(), seen))
        };
        let (stream, seen) = in_time(url, call).await?;
        let url = url.clone();
        Ok((Self { url, stream }, seen))
    }

    /// The next swing. May be called anew if it was dropped meanwhile.
    pub(crate) async fn next(&mut self) -> Result<Told, ClientError> {
        match self.stream.message().await {
            Ok(Some(swing)) => Ok(told(swing)),
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

fn told(swing: WatchBonksResponse) -> Told {
    let swung_at: Option<Timestamp> = swing.swung_at.and_then(wire::timestamp);
    let bonk = wire::read(swing.item).map(|bonk| Bonk {
        time: bonk.time.or(swung_at),
        ..bonk
    });
    Told {
        bonk,
        position: swing.position.map(wire::position).unwrap_or_default(),
        missed: swing.missed,
    }
}
