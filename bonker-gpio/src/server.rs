//! `run`: starts the inlets around an app and its arm, and stops them in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::app::App;
use crate::arm::Arm;
use crate::inlets::{grpc, web};
use crate::net::Access;
use crate::net::limits::TotalLimit;
use crate::net::port::Port;

/// For all of stopping: the swing, the way to rest, and closing connections.
pub const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// The part of [`STOP_DEADLINE`] for closing connections: thousands take their time.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// If no connection closes for so long, the rest are dropped.
const CLOSE_PAUSE: Duration = Duration::from_millis(250);

/// The part of [`STOP_DEADLINE`] for the history and the end of the process.
const EXIT: Duration = Duration::from_millis(150);

pub struct Ports {
    /// `bonk.v1`, health and reflection.
    pub grpc: TcpListener,
    /// The web side; off without.
    pub http: Option<TcpListener>,
    pub access: Access,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot find the address that is listened on")]
    Address(#[source] std::io::Error),
    #[error("cannot describe bonk.v1 for reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
    #[error("the gRPC server on {address} failed")]
    Transport {
        address: SocketAddr,
        source: tonic::transport::Error,
    },
    #[error("the arm's task ended unasked; the servo may not be at rest")]
    Arm,
    #[error("the HTTP server's task ended unasked")]
    Web,
}

/// Serves on `ports` until `shutdown` resolves, then stops within [`STOP_DEADLINE`].
///
/// `ready` is called once, with gRPC's real address, after the boot motion, when health is
/// SERVING. At `shutdown` health becomes `NOT_SERVING`, no connection is accepted, all further
/// items are rejected and watchers are disconnected; the arm finishes its swing, rests and
/// detaches; then, or halfway to the deadline, the remaining streams are ended.
pub async fn run(
    app: App,
    arm: Arm,
    ports: Ports,
    ready: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let Ports { grpc, http, access } = ports;
    let port = Port::new("connections", grpc, access.grpc.clone(), access.limits)
        .map_err(ServeError::Address)?;
    let address = port.address();
    let http = http.map(|http| web::port(http, access.http.clone()));
    let http = http.transpose().map_err(ServeError::Address)?;
    let connections = port.limit();
    let closing = CancellationToken::new();
    let (health, serving) = grpc::serve(&app, port, &access, closing.clone())
        .await
        .map_err(ServeError::Reflection)?;
    let mut serving = pin!(serving);
    let mut arm = tokio::spawn(arm.run());
    let mut web = web::start(&app, http, access);
    let life = async {
        app.booted().await;
        health.set_serving().await;
        ready(address);
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
    health.set_not_serving().await;
    app.stop();
    let rest = async {
        if !arm_ended && timeout_at(deadline - CLOSE_PAUSE, &mut arm).await.is_err() {
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
        () = sleep_until(deadline - CLOSE_TIME) => (),
    }
    closing.cancel();
    let last = deadline - EXIT;
    let closed = async {
        if served_out {
            return Ok(());
        }
        let Some(served) = drain(serving, &connections, last).await else {
            info!("some connections are still open and are dropped");
            return Ok(());
        };
        served.map_err(failed)
    };
    let (drained, ()) = tokio::join!(closed, async {
        if !rested {
            rest.await;
        }
    });
    result = result.and(drained);
    let last = last.min(Instant::now() + CLOSE_PAUSE);
    if web.is_running() && timeout_at(last, web.ended()).await.is_err() {
        info!("some HTTP connections are still open and are dropped");
    }
    result
}

/// Drives `serving` as long as one of its `connections` closes now and then, but not for
/// longer than `until`; `None` if it did not end.
async fn drain<T>(
    mut serving: Pin<&mut impl Future<Output = T>>,
    connections: &TotalLimit,
    until: Instant,
) -> Option<T> {
    loop {
        let open = connections.in_use();
        let pause = until.min(Instant::now() + CLOSE_PAUSE);
        if let Ok(served) = timeout_at(pause, &mut serving).await {
            return Some(served);
        }
        if pause == until || connections.in_use() == open {
            return None;
        }
    }
}
