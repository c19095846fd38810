//! `bonk.v1`, health and reflection over gRPC.

mod bonk_service;
mod health;
mod token_check;

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use proto::bonk::bonk_service_server::BonkServiceServer;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Status, TimeoutExpired};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use crate::app::App;
use crate::net::Access;
use crate::net::port::Protocol;
pub use bonk_service::MAX_WATCHERS;
use bonk_service::Service;
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

/// `PRI * HTTP/2.0` and so on, RFC 9113, section 3.4. The transport checks the text.
const PREFACE_BYTES: usize = 24;

/// For an answer, or a stream's first headers.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// The services, and their health, which is `NOT_SERVING` until the caller changes it. Open streams
/// of bonks end with `closing`.
pub(crate) async fn start(
    app: &App,
    access: &Access,
    closing: CancellationToken,
) -> Result<(Health, Protocol), tonic_reflection::server::Error> {
    let (health, health_service) = Health::new().await;
    let service = Service::new(app.clone(), access, closing);
    let bonk = BonkServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let check = TokenCheck::new(access.token.clone());
    let routes = Routes::new(InterceptedService::new(bonk, check.clone()))
        // Probes have no token.
        .add_service(health_service)
        .add_service(InterceptedService::new(reflection()?, check));
    let mut http = Builder::new(TokioExecutor::new()).http2_only();
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES);
    let protocol = Protocol {
        http,
        preface: PREFACE_BYTES,
        routes: routes.into_axum_router().layer(from_fn(answer_in_time)),
    };
    Ok((health, protocol))
}

async fn answer_in_time(request: Request, next: Next) -> Response {
    let answer = timeout(CALL_DEADLINE, next.run(request)).await;
    answer.unwrap_or_else(|_| Status::from_error(TimeoutExpired(()).into()).into_http())
}

fn reflection()
-> Result<ServerReflectionServer<impl ServerReflection>, tonic_reflection::server::Error> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::bonk::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
}
