//! Certificates and token for a bonker: files that may be rotated.

use std::io;
use std::path::{Path, PathBuf};

use service::file::read_bounded;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use tonic::{Request, Status};

use super::BonkerUrl;

/// A bundle of public CAs has some 200 KiB.
const MAX_BYTES: u64 = 1024 * 1024;

/// The files for all bonkers. Without TLS only the token is used.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Secrets {
    /// CA of the bonkers' certificates (PEM); an https:// URL needs it.
    ///
    /// The CA, certificate, key and token files are read again for every connection.
    #[arg(long = "bonker-ca", env = "OOM_AGENT_BONKER_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Client certificate for bonkers that require one (PEM).
    #[arg(
        long = "bonker-cert",
        env = "OOM_AGENT_BONKER_CERT",
        value_name = "FILE",
        requires = "key"
    )]
    pub cert: Option<PathBuf>,

    /// Private key of --bonker-cert (PEM).
    #[arg(
        long = "bonker-key",
        env = "OOM_AGENT_BONKER_KEY",
        value_name = "FILE",
        requires = "cert"
    )]
    pub key: Option<PathBuf>,

    /// File with the token for bonkers that require one.
    #[arg(
        long = "bonker-token-file",
        env = "OOM_AGENT_BONKER_TOKEN_FILE",
        value_name = "FILE"
    )]
    pub token: Option<PathBuf>,
}

/// Flags that contradict each other.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Contradiction {
    /// No certificate would be trusted.
    #[error(
        "{0} needs --bonker-ca: the ca.crt that `bonker-gpio certs` made, or \
         /etc/ssl/certs/ca-certificates.crt for a bonker with a public certificate"
    )]
    NoCa(String),
    /// The network could read the token.
    #[error("--bonker-token-file would be sent to {0} in plaintext: use https://, or leave it out")]
    PlainToken(String),
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretsError {
    #[error("cannot read {} (--{flag})", .path.display())]
    Read {
        path: PathBuf,
        flag: &'static str,
        source: io::Error,
    },
    #[error("{} holds no token (--bonker-token-file): one line of visible ASCII", .0.display())]
    Token(PathBuf),
}

/// Sends the token with each call, if there is one.
#[derive(Clone)]
pub(super) struct Token(Option<MetadataValue<Ascii>>);

// === impl Secrets ===

impl Secrets {
    /// Whether these go with those bonkers.
    pub fn check(&self, bonkers: &[BonkerUrl]) -> Result<(), Contradiction> {
        for bonker in bonkers {
            if bonker.is_tls() && self.ca.is_none() {
                return Err(Contradiction::NoCa(bonker.to_string()));
            }
            if !bonker.is_tls() && !bonker.is_loopback() && self.token.is_some() {
                return Err(Contradiction::PlainToken(bonker.to_string()));
            }
        }
        Ok(())
    }

    /// `None` for a bonker without TLS.
    pub(super) fn read_tls(&self, tls: bool) -> Result<Option<ClientTlsConfig>, SecretsError> {
        let Some(ca) = self.ca.as_deref().filter(|_| tls) else {
            return Ok(None);
        };
        let roots = Certificate::from_pem(read_file(ca, "bonker-ca")?);
        let mut config = ClientTlsConfig::new().ca_certificate(roots);
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let identity = Identity::from_pem(
                read_file(cert, "bonker-cert")?,
                read_file(key, "bonker-key")?,
            );
            config = config.identity(identity);
        }
        Ok(Some(config))
    }

    pub(super) fn read_token(&self) -> Result<Token, SecretsError> {
        let Some(path) = &self.token else {
            return Ok(Token(None));
        };
        let bytes = read_file(path, "bonker-token-file")?;
        let line = bytes.trim_ascii();
        let text = str::from_utf8(line).ok();
        let text =
            text.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()));
        let header = text.and_then(|text| format!("Bearer {text}").parse().ok());
        let mut header: MetadataValue<Ascii> =
            header.ok_or_else(|| SecretsError::Token(path.clone()))?;
        header.set_sensitive(true);
        Ok(Token(Some(header)))
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

fn read_file(path: &Path, flag: &'static str) -> Result<Vec<u8>, SecretsError> {
    read_bounded(path, MAX_BYTES).map_err(|source| SecretsError::Read {
        path: path.to_owned(),
        flag,
        source,
    })
}
