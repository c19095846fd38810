//! `bonk.v1.BonkService`: generated messages in, the desk's answers out.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::{self, Stream};
use proto::bonk::bonk_service_server::BonkService;
use proto::bonk::{
    Acknowledgement, BonkItem, BonkRequest, BonkResponse, GetStatusRequest, GetStatusResponse,
    Outcome, SnoozeRequest, SnoozeResponse, StreamBonksRequest, StreamBonksResponse,
    WatchBonksRequest, WatchBonksResponse,
};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::desk::{Answer, Desk};
use crate::arm::{ArmHandle, QUEUE_CAPACITY, Swung};
use crate::bonk::MAX_ID_BYTES;
use crate::bounds::{Places, Throttle};
use crate::text::{cut, escape};
use crate::wire;

/// How many calls may watch the swings.
pub const MAX_WATCHERS: usize = 64;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone)]
pub(super) struct Service {
    arm: ArmHandle,
    desk: Arc<Mutex<Desk>>,
    watchers: Places,
    full: Throttle,
    rejected: Throttle,
    /// New items are rejected, watchers sent away.
    stopping: CancellationToken,
    /// Open streams of items end.
    closing: CancellationToken,
}

// === impl Service ===

impl Service {
    pub(super) fn new(
        arm: ArmHandle,
        stopping: CancellationToken,
        closing: CancellationToken,
    ) -> Self {
        Self {
            arm,
            desk: Arc::default(),
            watchers: Places::new("watchers", MAX_WATCHERS),
            full: Throttle::default(),
            rejected: Throttle::default(),
            stopping,
            closing,
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer carries the id that came, cut to the bound of a valid one.
    fn acknowledge(&self, item: Option<BonkItem>) -> Acknowledgement {
        let id = item.as_ref().map(|item| item.id.clone());
        let id = cut(id.unwrap_or_default(), MAX_ID_BYTES);
        let stopping = self.stopping.is_cancelled();
        let queue = |bonk| self.arm.queue(bonk);
        let answer = self.desk().answer(wire::read(item), stopping, queue);
        match &answer {
            Answer::Accepted | Answer::Duplicate => debug!(id = escape(&id), ?answer),
            Answer::Full => {
                if let Some(times) = self.full.count() {
                    warn!(id = escape(&id), times, "the queue is full: dropped a bonk");
                }
            }
            Answer::Rejected(why) => {
                if let Some(times) = self.rejected.count() {
                    warn!(id = escape(&id), why, times, "rejected a bonk");
                }
            }
        }
        acknowledgement(id, answer)
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
        let start = Some((self.clone(), request.into_inner()));
        let answers = stream::unfold(start, |state| async {
            let (service, mut items) = state?;
            tokio::select! {
                biased;
                () = service.closing.cancelled() => Some((Err(shutting_down()), None)),
                item = items.message() => match item {
                    Ok(Some(request)) => {
                        let answer = StreamBonksResponse {
                            acknowledgement: Some(service.acknowledge(request.item)),
                        };
                        Some((Ok(answer), Some((service, items))))
                    }
                    Ok(None) => None,
                    Err(status) => Some((Err(status), None)),
                },
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn bonk(&self, request: Request<BonkRequest>) -> Result<Response<BonkResponse>, Status> {
        let acknowledgement = Some(self.acknowledge(request.into_inner().item));
        Ok(Response::new(BonkResponse { acknowledgement }))
    }

    async fn watch_bonks(
        &self,
        _request: Request<WatchBonksRequest>,
    ) -> Result<Response<Self::WatchBonksStream>, Status> {
        let place = self.watchers.try_take().ok_or_else(too_many_watchers)?;
        let start = Some((self.arm.watch(), self.stopping.clone(), place));
        let swings = stream::unfold(start, |state| async {
            let (mut swings, stopping, place) = state?;
            let mut missed = 0;
            loop {
                let swung = tokio::select! {
                    biased;
                    () = stopping.cancelled() => return Some((Err(shutting_down()), None)),
                    swung = swings.recv() => swung,
                };
                match swung {
                    Ok(swung) => {
                        let state = Some((swings, stopping, place));
                        return Some((Ok(told(&swung, missed)), state));
                    }
                    Err(RecvError::Lagged(more)) => missed += more,
                    Err(RecvError::Closed) => return Some((Err(shutting_down()), None)),
                }
            }
        });
        Ok(Response::new(Box::pin(swings)))
    }

    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let tally = self.desk().tally();
        Ok(Response::new(GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            backend: self.arm.backend().to_owned(),
            backend_reason: self.arm.backend_reason().to_owned(),
            swings: self.arm.swings(),
            queue_length: count(self.arm.queue_length()),
            queue_capacity: count(QUEUE_CAPACITY),
            accepted: tally.accepted,
            duplicates: tally.duplicates,
            full: tally.full,
            rejected: tally.rejected,
            failed_swings: self.arm.failed_swings(),
            ..GetStatusResponse::default()
        }))
    }

    async fn snooze(
        &self,
        _request: Request<SnoozeRequest>,
    ) -> Result<Response<SnoozeResponse>, Status> {
        Err(Status::unimplemented("this bonker cannot be snoozed"))
    }
}

fn acknowledgement(id: String, answer: Answer) -> Acknowledgement {
    let (outcome, first, message) = match answer {
        Answer::Accepted => (Outcome::Accepted, Outcome::Unspecified, String::new()),
        Answer::Duplicate => (Outcome::Duplicate, Outcome::Accepted, String::new()),
        Answer::Full => {
            let message = format!("{QUEUE_CAPACITY} bonks wait for the servo already");
            (Outcome::Full, Outcome::Unspecified, message)
        }
        Answer::Rejected(why) => (Outcome::Rejected, Outcome::Unspecified, why),
    };
    Acknowledgement {
        id,
        outcome: outcome.into(),
        first_outcome: first.into(),
        message,
    }
}

fn told(swung: &Swung, missed: u64) -> WatchBonksResponse {
    WatchBonksResponse {
        item: Some(wire::item(&swung.bonk)),
        swings: swung.swings,
        swung_at: Some(wire::wire_time(swung.swung_at)),
        missed,
        ..WatchBonksResponse::default()
    }
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
