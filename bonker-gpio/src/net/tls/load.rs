//! Loads and checks the files of a TLS port.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, version};
use service::file::read_bounded;
use tracing::warn;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::text::{escape, escape_path};

/// A bundle of public CAs has some 200 KiB.
const MAX_BYTES: u64 = 1024 * 1024;

/// Warn at start if a certificate expires within 30 days, in seconds.
const SOON: i64 = 30 * 24 * 60 * 60;

/// The permission of others to read.
const OTHERS_READ: u32 = 0o004;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and its CA, PEM.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// The CA of client certificates; without it, clients need none.
    pub client_ca: Option<PathBuf>,
}

/// Why the files do not make a TLS port.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}: check --{flag}, and that this user may read the file")]
    Read {
        path: String,
        flag: &'static str,
        source: io::Error,
    },
    #[error("{path} has no {what} in PEM: check --{flag}")]
    Empty {
        path: String,
        flag: &'static str,
        what: &'static str,
    },
    #[error("{path} has a certificate that cannot be read: {why}")]
    Malformed { path: String, why: String },
    #[error("the certificate in {path} expired at {when}: make a new one with `bonker-gpio certs`")]
    Expired { path: String, when: String },
    #[error(
        "the certificate in {path} is valid from {when} on, and here it is {now}: check this \
         machine's clock (a Pi has none of its own, and has to wait for NTP)"
    )]
    Early {
        path: String,
        when: String,
        now: String,
    },
    #[error("the certificate in {0} is not for servers: check --tls-cert")]
    Purpose(String),
    #[error("the certificate in {0} is no CA's: check --tls-client-ca")]
    NoCa(String),
    #[error(
        "the key in {key} does not belong to the certificate in {cert}: check --tls-key and --tls-cert"
    )]
    Mismatch { key: String, cert: String },
    #[error("{path} cannot be used for TLS")]
    Refused {
        path: String,
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Two configurations for TLS 1.3 by ring: the first requires client certificates if there is a
/// client CA, the second never does.
pub(super) fn load_configs(files: &TlsFiles) -> Result<(ServerConfig, ServerConfig), TlsError> {
    let now = Timestamp::now();
    let provider = Arc::new(ring::default_provider());
    let certs = load_certificates(&files.cert, "tls-cert")?;
    for cert in &certs {
        let cert = parse_certificate(cert, &files.cert)?;
        check_validity(&cert, &files.cert, now)?;
    }
    if let Some(leaf) = certs.first() {
        check_purpose(&parse_certificate(leaf, &files.cert)?, &files.cert)?;
    }
    let key = load_key(&files.key)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|why| refused(&files.cert, why))?;
    let open = builder.clone().with_no_client_auth();
    let guarded = match &files.client_ca {
        None => open.clone(),
        Some(path) => {
            let roots = Arc::new(load_roots(path, now)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|why| refused(path, why))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let guarded = guarded
        .with_single_cert(certs, key)
        .map_err(|why| match why {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                key: escape_path(&files.key),
                cert: escape_path(&files.cert),
            },
            why => refused(&files.key, why),
        })?;
    let open = open.with_cert_resolver(Arc::clone(&guarded.cert_resolver));
    Ok((guarded, open))
}

fn refused(path: &Path, why: impl Into<Box<dyn Error + Send + Sync>>) -> TlsError {
    TlsError::Refused {
        path: escape_path(path),
        source: why.into(),
    }
}

fn load_roots(path: &Path, now: Timestamp) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in load_certificates(path, "tls-client-ca")? {
        let cert = parse_certificate(&root, path)?;
        if !cert.is_ca() {
            return Err(TlsError::NoCa(escape_path(path)));
        }
        check_validity(&cert, path, now)?;
        roots.add(root).map_err(|why| refused(path, why))?;
    }
    Ok(roots)
}

fn load_certificates(
    path: &Path,
    flag: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read_file(path, flag)?;
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certs {
        Ok(certs) if !certs.is_empty() => Ok(certs),
        _ => Err(TlsError::Empty {
            path: escape_path(path),
            flag,
            what: "certificate",
        }),
    }
}

fn load_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    const FLAG: &str = "tls-key";
    let bytes = read_file(path, FLAG)?;
    let open = fs::metadata(path).is_ok_and(|file| file.mode() & OTHERS_READ != 0);
    if open {
        // Only a warning: a Secret mounted by Kubernetes is of this mode, in a container of its own.
        let path = escape_path(path);
        warn!("everybody on this machine can read the key {path}: chmod 600 {path}");
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| TlsError::Empty {
        path: escape_path(path),
        flag: FLAG,
        what: "private key",
    })
}

fn read_file(path: &Path, flag: &'static str) -> Result<Vec<u8>, TlsError> {
    read_bounded(path, MAX_BYTES).map_err(|source| TlsError::Read {
        path: escape_path(path),
        flag,
        source,
    })
}

fn parse_certificate<'a>(
    cert: &'a CertificateDer<'_>,
    path: &Path,
) -> Result<X509Certificate<'a>, TlsError> {
    match X509Certificate::from_der(cert) {
        Ok((_, cert)) => Ok(cert),
        Err(why) => Err(TlsError::Malformed {
            path: escape_path(path),
            why: escape(&why.to_string()),
        }),
    }
}

fn check_validity(cert: &X509Certificate<'_>, path: &Path, now: Timestamp) -> Result<(), TlsError> {
    let seconds = now.as_second();
    let (start, end) = (
        cert.validity().not_before.timestamp(),
        cert.validity().not_after.timestamp(),
    );
    let when =
        |second| Timestamp::from_second(second).map_or_else(|_| "?".to_owned(), |t| t.to_string());
    if end < seconds {
        let (path, when) = (escape_path(path), when(end));
        return Err(TlsError::Expired { path, when });
    }
    if seconds < start {
        return Err(TlsError::Early {
            path: escape_path(path),
            when: when(start),
            now: when(seconds),
        });
    }
    if end - seconds < SOON {
        let (path, when) = (escape_path(path), when(end));
        warn!(
            path,
            when, "a certificate expires soon: make a new one with `bonker-gpio certs`"
        );
    }
    Ok(())
}

/// A certificate without key usages is for all of them.
fn check_purpose(cert: &X509Certificate<'_>, path: &Path) -> Result<(), TlsError> {
    let fine = match cert.extended_key_usage() {
        Ok(Some(usage)) => usage.value.server_auth || usage.value.any,
        Ok(None) => true,
        Err(_) => false,
    };
    if fine {
        Ok(())
    } else {
        Err(TlsError::Purpose(escape_path(path)))
    }
}

#[cfg(test)]
mod tests;
