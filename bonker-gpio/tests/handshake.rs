#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper of tests may panic"
)]

//! TLS on the server's port as strangers meet it, and who needs no token.

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use bonker_gpio::{Acceptor, OPEN_DEADLINE, TlsFiles, Token};
use common::{Server, access, servo, within};
use proto::bonk::GetStatusRequest;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

/// For gRPC and for HTTP.
fn acceptors(dir: &Path) -> (Acceptor, Acceptor) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        cert: dir.join("cert"),
        key: dir.join("key"),
        client_ca: None,
    };
    fs::write(&files.cert, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    Acceptor::pair(&files).unwrap()
}

/// The clock is paused: it moves as soon as nobody has anything to do.
#[tokio::test]
async fn an_endless_handshake_is_cut_off_and_delays_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (servo, _gate) = servo(None);
    let mut secure = access();
    secure.grpc = acceptors(dir.path()).0;
    let mut server = Server::guarded(servo, secure).await;
    server.ready().await;
    tokio::time::pause();
    // Nothing, the head of a record, and a record that is no ClientHello.
    for output in [&b""[..], b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\x00\x01x"] {
        let mut peer = TcpStream::connect(server.address).await.unwrap();
        let begun = Instant::now();
        peer.write_all(output).await.unwrap();
        let mut heard = Vec::new();
        let _ = within(peer.read_to_end(&mut heard)).await;
        let took = begun.elapsed();
        assert!(took < OPEN_DEADLINE + Duration::from_secs(1), "{took:?}");
    }
}

#[tokio::test]
async fn plain_http_on_a_tls_port_gets_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (servo, _gate) = servo(None);
    let mut secure = access();
    secure.http = acceptors(dir.path()).1;
    let server = Server::guarded(servo, secure).await;
    let mut browser = TcpStream::connect(server.web).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: penguin\r\n\r\n";
    browser.write_all(request).await.unwrap();
    let mut heard = String::new();
    within(browser.read_to_string(&mut heard)).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 400 "), "{heard}");
    assert!(
        heard.ends_with("use https:// and the CA of its certificate\n"),
        "{heard}"
    );
}

#[tokio::test]
async fn probes_need_no_token_and_everybody_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, "0123456789abcdef").unwrap();
    let (servo, _gate) = servo(None);
    let mut guarded = access();
    guarded.token = Some(Token::read(&file).unwrap());
    let mut server = Server::guarded(servo, guarded).await;
    server.ready().await;
    let mut health = HealthClient::new(server.channel().await);
    within(health.check(HealthCheckRequest::default()))
        .await
        .unwrap();
    let status = within(server.client().await.get_status(GetStatusRequest {})).await;
    assert_eq!(status.unwrap_err().code(), Code::Unauthenticated);
    let mut reflection = ServerReflectionClient::new(server.channel().await);
    let request = tokio_stream::once(ServerReflectionRequest::default());
    let refused = within(reflection.server_reflection_info(request)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}
