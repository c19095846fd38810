use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use hyper_rustls::ConfigBuilderExt as _;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

/// The largest file that is read, in bytes: a bundle of public CAs has some 200 KiB.
const FILE_LEN: u64 = 1 << 20;

/// The file, read and checked.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) tls: ClientConfig,
}

/// Why it cannot be used. Neither `Display` nor the source shows the value of a header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is no such file. The parser's own words would quote it.
    #[error(
        "{} is not as it should be{}: expected `url: https://HOST/PATH`, and if need be `headers:`, a list of `name:` and `value:`, and `ca: FILE`",
        .path.display(), at(*.line)
    )]
    Strange {
        path: PathBuf,
        /// Where, from 1 on.
        line: Option<u64>,
    },
    #[error("the url in {} is no http:// or https:// URL with a host", .0.display())]
    Url(PathBuf),
    /// Another port would be used in its place.
    #[error("the port of the url in {} is none: name one from 1 to 65535, or leave it out", .0.display())]
    Port(PathBuf),
    #[error(
        "the url in {} has a user or a password: take out what is before the @, and send it by a header, `name: Authorization` and `value: Basic BASE64`, the BASE64 of `USER:PASSWORD`",
        .0.display()
    )]
    User(PathBuf),
    #[error("take the header {name} out of {}: {why}", .path.display())]
    Reserved {
        path: PathBuf,
        name: HeaderName,
        why: &'static str,
    },
    #[error("header {nth} of {} has a name or a value that HTTP does not allow", .path.display())]
    Header {
        path: PathBuf,
        /// Which header, from 1 on.
        nth: usize,
    },
    #[error("no certificate of a CA is in {}", .0.display())]
    Ca(PathBuf),
    #[error("this system has no CAs: name a file with `ca:` in {}", .0.display())]
    NoCas(PathBuf),
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

fn at(line: Option<u64>) -> String {
    line.map_or_else(String::new, |line| format!(" in line {line}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: String,
    #[serde(default)]
    headers: Vec<Header>,
    ca: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    value: String,
}

// === impl Config ===

impl Config {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let written: Written =
            serde_saphyr::from_slice(&text).map_err(|error| ConfigError::Strange {
                path: path.to_owned(),
                line: error.location().map(|at| at.line()),
            })?;
        let url = || ConfigError::Url(path.to_owned());
        let uri: Uri = written.url.parse().map_err(|_| url())?;
        let authority = uri.authority().ok_or_else(url)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.host().is_empty() {
            return Err(url());
        }
        if authority.as_str().contains('@') {
            return Err(ConfigError::User(path.to_owned()));
        }
        let port = authority.as_str().strip_prefix(authority.host());
        if port != Some("") && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(ConfigError::Port(path.to_owned()));
        }
        let secure = uri.scheme_str() == Some("https");
        Ok(Self {
            headers: headers(written.headers, path)?,
            tls: tls(secure, written.ca.as_deref(), path)?,
            uri,
        })
    }
}

fn headers(written: Vec<Header>, path: &Path) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    for (nth, Header { name, value }) in (1..).zip(written) {
        let pair = HeaderName::try_from(name)
            .ok()
            .zip(HeaderValue::try_from(value).ok());
        let (name, mut value) = pair.ok_or_else(|| ConfigError::Header {
            path: path.to_owned(),
            nth,
        })?;
        if let Some(why) = reserved(&name) {
            let path = path.to_owned();
            return Err(ConfigError::Reserved { path, name, why });
        }
        // Debug output shows none of them.
        value.set_sensitive(true);
        headers.append(name, value);
    }
    if !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(headers)
}

/// Headers that would change where the request or the connection ends, and what sets them.
fn reserved(name: &HeaderName) -> Option<&'static str> {
    match *name {
        HOST => Some("it is that of the url"),
        CONTENT_LENGTH | TRANSFER_ENCODING => Some("it is that of each notice"),
        CONNECTION | TE | TRAILER | UPGRADE => Some("the connection is not the file's"),
        _ => None,
    }
}

fn tls(secure: bool, ca: Option<&Path>, config: &Path) -> Result<ClientConfig, ConfigError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ConfigError::Tls)?;
    let roots = match ca {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            let text = read(ca)?;
            let (added, _) = roots.add_parsable_certificates(
                CertificateDer::pem_slice_iter(&text).filter_map(Result::ok),
            );
            if added == 0 {
                return Err(ConfigError::Ca(ca.to_owned()));
            }
            roots
        }
        None if secure => {
            let builder = builder
                .with_native_roots()
                .map_err(|_| ConfigError::NoCas(config.to_owned()))?;
            return Ok(builder.with_no_client_auth());
        }
        None => RootCertStore::empty(),
    };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_LEN).read_to_end(&mut bytes));
    read.map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(bytes)
}
