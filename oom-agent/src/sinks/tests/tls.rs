//! A bonker with TLS, client certificates and a token.

use std::fs;
use std::path::PathBuf;

use proto::bonk::bonk_service_server::BonkServiceServer;
use proto::bonk::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Status};

use super::super::{BonkerUrl, Contradiction, Secrets, start_bonker};
use super::{Bonker, WITHIN, incident, listen};
use crate::metrics::Metrics;
use crate::receipts::Receipts;

const TOKEN: &str = "0123456789abcdef";

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// A certificate and its key, PEM.
    fn sign(&self) -> (String, String) {
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }
}

/// The agent's files, as in a mounted Secret.
struct Mounted(TempDir);

impl Mounted {
    fn new() -> (Self, Secrets) {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| -> Option<PathBuf> { Some(dir.path().join(name)) };
        let secrets = Secrets {
            ca: file("ca.crt"),
            cert: file("tls.crt"),
            key: file("tls.key"),
            token: file("token"),
        };
        (Self(dir), secrets)
    }

    fn write(&self, authority: &Authority, token: &str) {
        let (cert, key) = authority.sign();
        for (name, text) in [
            ("ca.crt", authority.pem.as_str()),
            ("tls.crt", &cert),
            ("tls.key", &key),
            ("token", token),
        ] {
            fs::write(self.0.path().join(name), text).unwrap();
        }
    }
}

fn serve(listener: TcpListener, authority: &Authority) -> mpsc::Receiver<BonkItem> {
    let (bonker, received, _) = Bonker::new();
    let (cert, key) = authority.sign();
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(cert, key))
        .client_ca_root(Certificate::from_pem(&authority.pem));
    let demand = |request: Request<()>| {
        let shown = request.metadata().get("authorization");
        let right = shown.is_some_and(|shown| shown == format!("Bearer {TOKEN}").as_str());
        right
            .then_some(request)
            .ok_or_else(|| Status::unauthenticated("wrong token"))
    };
    let server = Server::builder()
        .tls_config(tls)
        .unwrap()
        .add_service(BonkServiceServer::with_interceptor(bonker, demand))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { server.await.unwrap() });
    received
}

#[tokio::test]
async fn rotated_secrets_are_used() {
    let (listener, address) = listen().await;
    let (ours, others) = (Authority::new(), Authority::new());
    let mut received = serve(listener, &ours);
    let (mounted, secrets) = Mounted::new();
    let url: BonkerUrl = format!("https://{address}").parse().unwrap();
    let metrics = Metrics::default();
    let sink = start_bonker(&url, secrets, false, &metrics, Receipts::default());
    sink.offer(&incident(1).into());
    let refused = async |received: &mut mpsc::Receiver<BonkItem>| {
        let quick = std::time::Duration::from_millis(600);
        assert!(timeout(quick, received.recv()).await.is_err());
    };
    // No file yet; then another CA's; then a wrong token.
    refused(&mut received).await;
    mounted.write(&others, TOKEN);
    refused(&mut received).await;
    mounted.write(&ours, "fedcba9876543210");
    refused(&mut received).await;
    mounted.write(&ours, &format!("{TOKEN}\n"));
    let item = timeout(WITHIN, received.recv()).await.unwrap().unwrap();
    assert_eq!(item.id, incident(1).id);
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!((counts.delivered.get(), counts.failed.get()), (1, 0));
}

#[test]
fn contradicting_flags_are_refused() {
    let url = |text: &str| -> BonkerUrl { text.parse().unwrap() };
    let (_mounted, all) = Mounted::new();
    let token = Secrets {
        token: all.token.clone(),
        ..Secrets::default()
    };
    let none = Secrets::default();
    let (tls, plain) = (url("https://penguin.local"), url("http://penguin.local"));
    assert_eq!(
        none.check(&[plain.clone(), tls.clone()]),
        Err(Contradiction::NoCa(tls.to_string()))
    );
    assert_eq!(
        token.check(std::slice::from_ref(&plain)),
        Err(Contradiction::PlainToken(plain.to_string()))
    );
    assert_eq!(all.check(std::slice::from_ref(&tls)), Ok(()));
    for local in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
        assert_eq!(token.check(&[url(local)]), Ok(()), "{local}");
    }
    assert_eq!(none.check(&[plain]), Ok(()));
}
