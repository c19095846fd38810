//! `bonk.v1`, health and reflection over gRPC.

mod bonk_service;
mod connections;
mod health;
mod token_check;
mod watcher;

use std::time::Duration;

use proto::bonk::bonk_service_server::BonkServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use crate::app::App;
use crate::net::Access;
use crate::net::port::Port;
pub use bonk_service::MAX_WATCHERS;
use bonk_service::Service;
pub use connections::PREFACE_DEADLINE;
pub(crate) use health::Health;
use token_check::TokenCheck;

/// Room for an item whose eight strings are all far over their bounds.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

const MAX_STREAMS_PER_CONNECTION: u32 = 64;

/// What a client may send before the service reads it: HTTP/2's own default, which one message
/// of [`MAX_MESSAGE_BYTES`] just fits. Each connection may hold as much.
const WINDOW_BYTES: u32 = 65_535;

/// A token, and what gRPC and proxies add.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// For an answer, or a stream's first headers.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Serves on `port` until the app stops; open streams of bonks end with `closing`. Health is
/// `NOT_SERVING` until the caller changes it.
pub(crate) async fn serve(
    app: &App,
    port: Port,
    access: &Access,
    closing: CancellationToken,
) -> Result<
    (
        Health,
        impl Future<Output = Result<(), tonic::transport::Error>> + use<>,
    ),
    tonic_reflection::server::Error,
> {
    let (health, health_service) = Health::new().await;
    let service = Service::new(app.clone(), access, closing);
    let bonk = BonkServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let check = TokenCheck::new(access.token.clone());
    let serving = transport()
        .add_service(InterceptedService::new(bonk, check.clone()))
        // Probes have no token.
        .add_service(health_service)
        .add_service(InterceptedService::new(reflection()?, check))
        .serve_with_incoming_shutdown(
            connections::accept(port),
            app.stopping().clone().cancelled_owned(),
        );
    Ok((health, serving))
}

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
