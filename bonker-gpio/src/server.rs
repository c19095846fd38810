//! `run`: serves `bonk.v1`, health and reflection until it is told to stop.

mod access;
mod connections;
mod health;
mod service;
mod streams;
mod watcher;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use proto::bonk::bonk_service_server::BonkServiceServer;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tracing::{info, warn};

use crate::arm::Arm;
use crate::bounds::Places;
use crate::port::Port;
use crate::web;
pub use access::Access;
pub use connections::PREFACE_DEADLINE;
use health::Health;
pub use service::MAX_WATCHERS;
use service::Service;
use streams::Streams;

/// How long stopping may take in all: the swing, the rest, and the goodbyes.
pub const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// What of [`STOP_DEADLINE`] is kept for the goodbyes: thousands of them take their time.
const GOODBYES: Duration = Duration::from_secs(1);

/// Connections that do not close, and no other either for so long, are waited for no more.
const GOODBYE: Duration = Duration::from_millis(250);

/// What of [`STOP_DEADLINE`] is kept for the history, and for letting go of everything.
const EXIT: Duration = Duration::from_millis(150);

/// Room for an item whose eight strings are all far over their bounds.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

const MAX_STREAMS_PER_CONNECTION: u32 = 64;

/// What a client may send before the service takes it: HTTP/2's own default, which one
/// message of [`MAX_MESSAGE_BYTES`] just fits. Each connection may hold as much.
const WINDOW_BYTES: u32 = 65_535;

/// A token, and what gRPC and proxies add.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// The answer, or a stream's first headers, come by then.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Where to serve, and for whom.
pub struct Ports {
    /// `bonk.v1`, health and reflection.
    pub grpc: TcpListener,
    /// The web side; off without.
    pub http: Option<TcpListener>,
    /// Who is let in.
    pub access: Access,
}

/// Why serving ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket has no address.
    #[error("cannot tell which address is listened on")]
    Address(#[source] std::io::Error),
    /// The reflection service could not be put together.
    #[error("cannot describe bonk.v1 for reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("the gRPC server on {address} failed")]
    Transport {
        /// Where it listened.
        address: SocketAddr,
        /// The transport's error.
        source: tonic::transport::Error,
    },
    /// The arm's task ended.
    #[error("the arm's task ended unasked; the servo may not be at rest")]
    Arm,
    /// The task of the web side ended.
    #[error("the HTTP server's task ended unasked")]
    Web,
}

// === impl Ports ===

/// gRPC alone, in plaintext for everybody.
impl From<TcpListener> for Ports {
    fn from(grpc: TcpListener) -> Self {
        Self {
            grpc,
            http: None,
            access: Access::default(),
        }
    }
}

/// Serves on `ports` until `shutdown` resolves, then stops within [`STOP_DEADLINE`].
///
/// `ready` is called once, with gRPC's real address, after the boot motion, when health says
/// SERVING. At `shutdown` health says `NOT_SERVING`, no connection is accepted, every new item
/// is rejected and watchers are sent away; the arm finishes its swing, rests and detaches;
/// then, or halfway to the deadline, the remaining streams are ended.
pub async fn run(
    ports: impl Into<Ports>,
    arm: Arm,
    ready: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let Ports { grpc, http, access } = ports.into();
    let port = Port::new("connections", grpc, access.grpc.clone(), access.limits)
        .map_err(ServeError::Address)?;
    let address = port.address();
    let http = http.map(|http| web::port(http, access.http.clone()));
    let http = http.transpose().map_err(ServeError::Address)?;
    let connections = port.places();
    let (health, health_service) = Health::new().await;
    let reflection = reflection().map_err(ServeError::Reflection)?;

    let stopping = CancellationToken::new();
    let closing = CancellationToken::new();
    let desk = arm.desk();
    let site = web::Site::new(&arm, access.token.is_some(), stopping.clone());
    let service = Service::new(
        desk.clone(),
        arm.backend().clone(),
        Streams::new(access.limits.per_peer, access.idle_timeout),
        stopping.clone(),
        closing.clone(),
    );
    let bonk = BonkServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let key = access.key();
    let serving = transport()
        .add_service(InterceptedService::new(bonk, key.clone()))
        // Probes have no token.
        .add_service(health_service)
        .add_service(InterceptedService::new(reflection, key))
        .serve_with_incoming_shutdown(
            connections::accept(port),
            stopping.clone().cancelled_owned(),
        );
    let mut serving = pin!(serving);

    let (booted_tx, booted) = oneshot::channel();
    let mut arm = tokio::spawn(arm.run(booted_tx, stopping.clone()));
    let guard = web::Guard::new(access.token, access.private);
    let mut web = web::start(http, &guard, site.clone());
    let life = async {
        if booted.await.is_ok() {
            health.serving().await;
            site.booted();
            ready(address);
        }
        std::future::pending::<Infallible>().await
    };
    let failed = |source| ServeError::Transport { address, source };
    let (mut served_out, mut arm_ended) = (false, false);
    let mut result = tokio::select! {
        served = &mut serving => { served_out = true; served.map_err(failed) }
        _ = &mut arm => { arm_ended = true; Err(ServeError::Arm) }
        () = web.ended() => Err(ServeError::Web),
        never = life => match never {},
        () = shutdown => Ok(()),
    };

    let deadline = Instant::now() + STOP_DEADLINE;
    info!("stopping: new bonks are rejected, the arm goes to rest");
    health.not_serving().await;
    desk.stop();
    stopping.cancel();
    let rest = async {
        if !arm_ended && timeout_at(deadline - GOODBYE, &mut arm).await.is_err() {
            warn!("the arm did not get to rest in time; its pulses end with the process");
            arm.abort();
        }
    };
    let mut rest = pin!(rest);
    let mut rested = false;
    // The transport is driven meanwhile, so that items still get their answers.
    tokio::select! {
        served = &mut serving, if !served_out => {
            served_out = true;
            result = result.and(served.map_err(failed));
        }
        () = &mut rest => rested = true,
        () = sleep_until(deadline - GOODBYES) => (),
    }
    closing.cancel();
    let last = deadline - EXIT;
    let goodbyes = async {
        if served_out {
            return Ok(());
        }
        let Some(served) = parted(serving, &connections, last).await else {
            info!("some connections are still open and are dropped");
            return Ok(());
        };
        served.map_err(failed)
    };
    let (parted, ()) = tokio::join!(goodbyes, async {
        if !rested {
            rest.await;
        }
    });
    result = result.and(parted);
    let last = last.min(Instant::now() + GOODBYE);
    if web.is_on() && timeout_at(last, web.ended()).await.is_err() {
        info!("some HTTP connections are still open and are dropped");
    }
    result
}

/// With the bounds of each connection and call.
fn transport() -> Server {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .timeout(CALL_DEADLINE)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
}

fn reflection()
-> Result<ServerReflectionServer<impl ServerReflection>, tonic_reflection::server::Error> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::bonk::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
}

/// Drives `serving` as long as one of its `connections` closes now and then, but not for
/// longer than `until`; `None` if it did not end.
async fn parted<T>(
    mut serving: Pin<&mut impl Future<Output = T>>,
    connections: &Places,
    until: Instant,
) -> Option<T> {
    loop {
        let open = connections.taken();
        let pause = until.min(Instant::now() + GOODBYE);
        if let Ok(served) = timeout_at(pause, &mut serving).await {
            return Some(served);
        }
        if pause == until || connections.taken() == open {
            return None;
        }
    }
}
