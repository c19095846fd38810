//! `run`: starts the inlets around an app and its arm, and stops them in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::app::App;
use crate::arm::Arm;
use crate::inlets::{grpc, web};
use crate::net::Access;
use crate::net::port::Port;

/// For all of stopping: the swing, the way to rest, and closing connections.
pub const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// The part of [`STOP_DEADLINE`] for closing connections: thousands take their time.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// The part of [`STOP_DEADLINE`] that is left when the arm is given up.
const REST_MARGIN: Duration = Duration::from_millis(250);

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
    #[error("the arm's task ended unasked; the servo may not be at rest")]
    Arm,
    #[error("a server's task ended unasked")]
    Server,
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
    let grpc = Port::new("connections", grpc, access.grpc.clone(), access.limits)
        .map_err(ServeError::Address)?;
    let http = http
        .map(|http| Port::new("HTTP connections", http, access.http.clone(), web::LIMITS))
        .transpose()
        .map_err(ServeError::Address)?;
    let address = grpc.address();
    let closing = CancellationToken::new();
    let (health, bonk) = grpc::start(&app, &access, closing.clone())
        .await
        .map_err(ServeError::Reflection)?;
    let mut serving = JoinSet::new();
    serving.spawn(grpc.serve(bonk, app.stopping().clone(), closing.clone()));
    if let Some(http) = http {
        let pages = web::start(&app, &access);
        serving.spawn(http.serve(pages, app.stopping().clone(), closing.clone()));
    }
    let mut arm = tokio::spawn(arm.run());
    let life = async {
        app.booted().await;
        health.set_serving().await;
        ready(address);
        std::future::pending::<Infallible>().await
    };
    let result = tokio::select! {
        _ = serving.join_next() => Err(ServeError::Server),
        _ = &mut arm => Err(ServeError::Arm),
        never = life => match never {},
        () = shutdown => Ok(()),
    };

    let deadline = Instant::now() + STOP_DEADLINE;
    info!("stopping: new bonks are rejected, the arm goes to rest");
    health.set_not_serving().await;
    app.stop();
    let rest = async {
        if !arm.is_finished() && timeout_at(deadline - REST_MARGIN, &mut arm).await.is_err() {
            warn!("the arm did not get to rest in time; its pulses end with the process");
            arm.abort();
        }
    };
    let mut rest = pin!(rest);
    // Meanwhile items still get their answers.
    let rested = timeout_at(deadline - CLOSE_TIME, &mut rest).await.is_ok();
    closing.cancel();
    let closed = async { while serving.join_next().await.is_some() {} };
    let (closed, ()) = tokio::join!(timeout_at(deadline - EXIT, closed), async {
        if !rested {
            rest.await;
        }
    });
    if closed.is_err() {
        info!("some connections are still closing and are dropped");
    }
    result
}
