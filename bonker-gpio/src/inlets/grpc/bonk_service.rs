//! `bonk.v1.BonkService`: between generated messages and the app.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use axum::extract::ConnectInfo;
use futures::stream::{self, Stream};
use proto::bonk::bonk_service_server::BonkService;
use proto::bonk::{
    Acknowledgement, BonkItem, BonkRequest, BonkResponse, GetStatusRequest, GetStatusResponse,
    SnoozeRequest, SnoozeResponse, StreamBonksRequest, StreamBonksResponse, WatchBonksRequest,
    WatchBonksResponse,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::admission::{MAX_SNOOZE, Outcome};
use crate::app::App;
use crate::bonk::MAX_ID_BYTES;
use crate::inlets::watcher::Watcher;
use crate::net::Access;
use crate::net::limits::{PeerLimit, PeerPermit, TotalLimit};
use crate::text::cut;
use crate::wire;

/// Calls of `WatchBonks` at a time.
pub const MAX_WATCHERS: usize = 1024;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone)]
pub(super) struct Service {
    app: App,
    watchers: TotalLimit,
    streams: PeerLimit,
    idle_timeout: Duration,
    /// Ends open streams of items.
    closing: CancellationToken,
}

// === impl Service ===

impl Service {
    pub(super) fn new(app: App, access: &Access, closing: CancellationToken) -> Self {
        Self {
            app,
            watchers: TotalLimit::new("watchers", MAX_WATCHERS),
            streams: PeerLimit::new("streams", access.limits.per_peer),
            idle_timeout: access.idle_timeout,
            closing,
        }
    }

    /// The stream counts while its permit lives.
    fn open_stream(&self, peer: Option<IpAddr>) -> Result<Option<PeerPermit>, Status> {
        let Some(peer) = peer else { return Ok(None) };
        self.streams.try_acquire(peer).map(Some).ok_or_else(|| {
            Status::resource_exhausted(format!(
                "this address has {} streams open already, the most it may have \
                 (--max-connections-per-peer of the bonker)",
                self.streams.max()
            ))
        })
    }

    /// With the item's own id, cut to the length of a valid one.
    fn acknowledge(&self, item: Option<BonkItem>, peer: Option<IpAddr>) -> Acknowledgement {
        let id = item.as_ref().map(|item| item.id.clone());
        let mut id = id.unwrap_or_default();
        cut(&mut id, MAX_ID_BYTES);
        let answer = self.app.submit(wire::read(item), peer);
        wire::acknowledgement(id, answer)
    }
}

#[tonic::async_trait]
impl BonkService for Service {
    type StreamBonksStream = Answers<StreamBonksResponse>;
    type WatchBonksStream = Answers<WatchBonksResponse>;

    async fn stream_bonks(
        &self,
        request: Request<Streaming<StreamBonksRequest>>,
    ) -> Result<Response<Self::StreamBonksStream>, Status> {
        let peer = peer(&request);
        let permit = self.open_stream(peer)?;
        let start = Some((self.clone(), request.into_inner(), permit));
        let answers = stream::unfold(start, move |state| async move {
            let (service, mut items, permit) = state?;
            let idle = service.idle_timeout;
            tokio::select! {
                biased;
                () = service.closing.cancelled() => Some((Err(shutting_down()), None)),
                item = items.message() => match item {
                    Ok(Some(request)) => {
                        let answer = StreamBonksResponse {
                            acknowledgement: Some(service.acknowledge(request.item, peer)),
                        };
                        Some((Ok(answer), Some((service, items, permit))))
                    }
                    Ok(None) => None,
                    Err(status) => Some((Err(status), None)),
                },
                // No error: the client opens a new one.
                () = tokio::time::sleep(idle) => None,
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn bonk(&self, request: Request<BonkRequest>) -> Result<Response<BonkResponse>, Status> {
        let peer = peer(&request);
        let acknowledgement = Some(self.acknowledge(request.into_inner().item, peer));
        Ok(Response::new(BonkResponse { acknowledgement }))
    }

    async fn watch_bonks(
        &self,
        request: Request<WatchBonksRequest>,
    ) -> Result<Response<Self::WatchBonksStream>, Status> {
        let of_peer = self.open_stream(peer(&request))?;
        let permit = self.watchers.try_acquire().ok_or_else(too_many_watchers)?;
        let after = request.into_inner().after.map(wire::position);
        let watcher = Watcher::new(&self.app, after);
        let start = Some((watcher, self.app.stopping().clone(), (permit, of_peer)));
        let swings = stream::unfold(start, |state| async {
            let (mut watcher, stopping, permits) = state?;
            let next = tokio::select! {
                biased;
                () = stopping.cancelled() => None,
                next = watcher.next() => next,
            };
            let Some((swing, missed)) = next else {
                return Some((Err(shutting_down()), None));
            };
            let state = Some((watcher, stopping, permits));
            Some((Ok(wire::swing(&swing, missed)), state))
        });
        Ok(Response::new(Box::pin(swings)))
    }

    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let status = self.app.status();
        let (tally, backend) = (&status.tally, self.app.backend());
        Ok(Response::new(GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            backend: backend.name.to_owned(),
            backend_reason: backend.reason.clone(),
            swings: status.swings,
            queue_length: count(status.queue_length),
            queue_capacity: count(status.queue_capacity),
            accepted: tally.count(Outcome::Accepted),
            duplicates: tally.count(Outcome::Duplicate),
            full: tally.count(Outcome::Full),
            rejected: tally.count(Outcome::Rejected),
            failed_swings: status.failed_swings,
            coalesced: tally.count(Outcome::Coalesced),
            rate_limited: tally.count(Outcome::RateLimited),
            quiet: tally.count(Outcome::Quiet) + tally.quiet_waiting,
            expired: tally.count(Outcome::Expired) + tally.expired_waiting,
            total_swings: status.total_swings,
            last_swing_at: status.last_swing_at.map(wire::wire_time),
            snoozed_until: status.snoozed_until.map(wire::wire_time),
            position: Some(wire::wire_position(&status.position)),
        }))
    }

    async fn snooze(
        &self,
        request: Request<SnoozeRequest>,
    ) -> Result<Response<SnoozeResponse>, Status> {
        let span = request.into_inner().duration.unwrap_or_default();
        let span = Duration::try_from(span).ok();
        let span = span.filter(|span| *span <= MAX_SNOOZE);
        let span = span.ok_or_else(|| {
            Status::invalid_argument("a snooze lasts from 0 seconds, which ends it, to a week")
        })?;
        let until = self.app.snooze(span).map(wire::wire_time);
        Ok(Response::new(SnoozeResponse { until }))
    }
}

/// The address whose rate a call counts against.
fn peer<T>(request: &Request<T>) -> Option<IpAddr> {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
    address.map(|address| address.0.ip())
}

fn shutting_down() -> Status {
    Status::unavailable("the server is shutting down")
}

fn too_many_watchers() -> Status {
    Status::resource_exhausted(format!(
        "{MAX_WATCHERS} watchers are connected already, as many as may be: end one and try again"
    ))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
