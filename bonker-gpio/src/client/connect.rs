//! A connection to a bonker, or an error that names what to check.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use proto::bonk::bonk_service_client::BonkServiceClient;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::{ClientError, DEADLINE, MAX_FILE_BYTES, Refusal, trouble};
use crate::args::ServerArgs;
use crate::net::auth::Token;

/// A stream on a dead network ends.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(10);

/// A bonker sends less. Positions are kept and sent back, so that a larger one does harm.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

pub(super) type Client = BonkServiceClient<InterceptedService<Channel, TokenHeader>>;

#[derive(Clone)]
pub(super) struct TokenHeader(Option<MetadataValue<Ascii>>);

/// Connects as `server` has it; the files are read anew each time.
pub(super) async fn connect(server: &ServerArgs) -> Result<Client, ClientError> {
    let url = &server.url;
    let failed = |source: tonic::transport::Error| match advice(url, &source) {
        Some(advice) => ClientError::Handshake {
            url: url.clone(),
            advice,
            source: source.into(),
        },
        None => ClientError::Connect {
            url: url.clone(),
            source,
        },
    };
    let mut endpoint = Endpoint::from_shared(url.clone())
        .map_err(failed)?
        .connect_timeout(DEADLINE)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_PATIENCE);
    if let Some(tls) = tls(server)? {
        endpoint = endpoint.tls_config(tls).map_err(ClientError::Tls)?;
    }
    let token_header = token_header(server)?;
    let channel = endpoint.connect().await.map_err(failed)?;
    let client = BonkServiceClient::with_interceptor(channel, token_header);
    Ok(client.max_decoding_message_size(MAX_MESSAGE_BYTES))
}

/// Whether the files of `server` can be used; does not connect.
pub(crate) fn check(server: &ServerArgs) -> Result<(), ClientError> {
    if let Some(tls) = tls(server)? {
        let endpoint = Endpoint::from_static("https://localhost");
        endpoint.tls_config(tls).map_err(ClientError::Tls)?;
    }
    token_header(server).map(|_| ())
}

/// `call`, connecting included, held to the deadline.
pub(super) async fn with_deadline<T>(
    url: &str,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::Late {
            url: url.to_owned(),
        }),
    }
}

pub(super) fn call_error(url: &str) -> impl Fn(Status) -> ClientError {
    move |status| {
        // A server refuses a client's certificate only after the client's handshake.
        let advice = advice(url, &status);
        let (url, source) = (url.to_owned(), Refusal::from(status));
        if let Some(advice) = advice {
            let source = source.into();
            ClientError::Handshake {
                url,
                advice,
                source,
            }
        } else if source.is_transport() {
            ClientError::HungUp { url, source }
        } else {
            ClientError::Call { url, source }
        }
    }
}

fn advice(url: &str, error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    trouble::advice(error, is_tls(url))
}

fn is_tls(url: &str) -> bool {
    url.starts_with("https:")
}

fn tls(server: &ServerArgs) -> Result<Option<ClientTlsConfig>, ClientError> {
    if !is_tls(&server.url) {
        let given = server.ca.is_some() || server.cert.is_some();
        let url = server.url.clone();
        return if given {
            Err(ClientError::NoTls { url })
        } else {
            Ok(None)
        };
    }
    let ca = server.ca.as_deref().ok_or(ClientError::NoCa)?;
    let flag = |name| format!("{}{name}", server.prefix);
    let roots = certificates(ca, flag("ca"))?;
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots));
    if let (Some(cert), Some(key)) = (&server.cert, &server.key) {
        let (chain, secret) = (certificates(cert, flag("cert"))?, read(key, flag("key"))?);
        if PrivateKeyDer::from_pem_slice(&secret).is_err() {
            return Err(no_pem(key, flag("key"), "private key"));
        }
        tls = tls.identity(Identity::from_pem(chain, secret));
    }
    Ok(Some(tls))
}

fn certificates(path: &Path, flag: String) -> Result<Vec<u8>, ClientError> {
    let pem = read(path, flag.clone())?;
    match CertificateDer::pem_slice_iter(&pem).next() {
        Some(Ok(_)) => Ok(pem),
        _ => Err(no_pem(path, flag, "certificate")),
    }
}

fn no_pem(path: &Path, flag: String, what: &'static str) -> ClientError {
    ClientError::Pem {
        path: path.to_owned(),
        flag,
        what,
    }
}

fn read(path: &Path, flag: String) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    let file = File::open(path);
    let read = file.and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    let path = path.to_owned();
    match read {
        Ok(_) if bytes.len() as u64 > MAX_FILE_BYTES => Err(ClientError::Large { path, flag }),
        Ok(_) => Ok(bytes),
        Err(source) => Err(ClientError::File { path, flag, source }),
    }
}

fn token_header(server: &ServerArgs) -> Result<TokenHeader, ClientError> {
    let Some(file) = &server.token_file else {
        return Ok(TokenHeader(None));
    };
    let token = Token::read(file).map_err(|source| {
        let flag = format!("{}token-file", server.prefix);
        ClientError::Token { flag, source }
    })?;
    // A token is visible ASCII.
    let mut header = token.header().parse::<MetadataValue<Ascii>>().ok();
    if let Some(header) = &mut header {
        header.set_sensitive(true);
    }
    Ok(TokenHeader(header))
}

impl Interceptor for TokenHeader {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", header.clone());
        }
        Ok(request)
    }
}
