//! A connection to a bonker, or an error that names what to check.

use std::path::Path;
use std::time::Duration;

use proto::bonk::bonk_service_client::BonkServiceClient;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use service::file::read_bounded;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::{ClientError, DEADLINE, MAX_FILE_BYTES, Refusal, trouble};
use crate::args::{ServerArgs, require};
use crate::net::auth::Token;

/// A stream on a dead network ends.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(10);

/// A bonker sends less. Positions are kept and sent back, so that a larger one does harm.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

pub(super) type Client = BonkServiceClient<InterceptedService<Channel, TokenHeader>>;

#[derive(Clone)]
pub(super) struct TokenHeader(Option<MetadataValue<Ascii>>);

/// Connects as `server` has it and calls `rpc`, both within the deadline.
pub(super) async fn call<T>(
    server: &ServerArgs,
    rpc: impl AsyncFnOnce(&mut Client) -> Result<T, Status>,
) -> Result<T, ClientError> {
    let url = &server.url;
    let call = async {
        let mut client = connect(server).await?;
        rpc(&mut client)
            .await
            .map_err(|status| call_error(url, status))
    };
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::Late { url: url.clone() }),
    }
}

/// The files are read anew each time.
async fn connect(server: &ServerArgs) -> Result<Client, ClientError> {
    let url = &server.url;
    let failed = |source: tonic::transport::Error| match trouble::advice(&source, is_tls(url)) {
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

fn call_error(url: &str, status: Status) -> ClientError {
    // A server refuses a client's certificate only after the client's handshake.
    let advice = trouble::advice(&status, is_tls(url));
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

fn is_tls(url: &str) -> bool {
    url.starts_with("https:")
}

fn tls(server: &ServerArgs) -> Result<Option<ClientTlsConfig>, ClientError> {
    let flag = |name| format!("{}{name}", server.prefix);
    let (prefix, url) = (server.prefix, || server.url.clone());
    let cert = (&*flag("cert"), server.cert.is_some());
    let key = (&*flag("key"), server.key.is_some());
    require(cert, key)?;
    require(key, cert)?;
    let ca = match &server.ca {
        Some(ca) if is_tls(&server.url) => ca,
        None if is_tls(&server.url) => return Err(ClientError::NoCa { prefix, url: url() }),
        None if server.cert.is_none() => return Ok(None),
        _ => return Err(ClientError::NoTls { prefix, url: url() }),
    };
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
    read_bounded(path, MAX_FILE_BYTES).map_err(|source| ClientError::File {
        path: path.to_owned(),
        flag,
        source,
    })
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

#[cfg(test)]
mod tests {
    use super::check;
    use crate::args::ServerArgs;

    #[test]
    fn files_that_cannot_be_used_are_named_by_their_flags() {
        let check = |url: &str, files: &[&str], part: &str| {
            let file = |name| files.contains(&name).then(|| "/nonexistent".into());
            let why = check(&ServerArgs {
                url: url.to_owned(),
                ca: file("ca"),
                cert: file("cert"),
                key: file("key"),
                token_file: None,
                prefix: "follow-",
            });
            let why = why.unwrap_err().to_string();
            assert!(why.contains(part), "{url} {files:?}: {why}");
        };
        let alone = "--follow-cert does nothing without --follow-key:";
        check("https://a:1", &["ca", "cert"], alone);
        let alone = "--follow-key does nothing without --follow-cert:";
        check("https://a:1", &["ca", "key"], alone);
        check("https://a:1", &[], "https://a:1 needs --follow-ca:");
        check(
            "http://a:1",
            &["ca"],
            "--follow-ca and --follow-cert are for TLS",
        );
        check("http://a:1", &["cert", "key"], "a:1 is plaintext");
        check("https://a:1", &["ca"], "check --follow-ca");
    }
}
