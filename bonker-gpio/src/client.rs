//! The commands that call a bonker.

mod bonk;
mod connect;
mod refusal;
mod snooze;
mod status;
mod swing_line;
mod swings;
mod trouble;
mod watch;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use tonic::Code;

use crate::args::Alone;
use crate::picture::ScreenError;
pub(crate) use bonk::bonk;
pub(crate) use connect::check;
use refusal::Refusal;
pub(crate) use snooze::snooze;
pub(crate) use status::status;
pub(crate) use swings::{Begin, Event, HubSwing, Swings};
pub(crate) use watch::watch;

use crate::net::auth::TokenError;
use crate::text::escape_path;

/// How long one call may take, connecting included.
const DEADLINE: Duration = Duration::from_secs(5);

/// The largest file of certificates: a bundle of public CAs has some 200 KiB.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(
        "{url} needs --{prefix}ca: the ca.crt that `bonker-gpio certs` made, or \
         /etc/ssl/certs/ca-certificates.crt for a bonker with a public certificate"
    )]
    NoCa { prefix: &'static str, url: String },
    #[error(
        "--{prefix}ca and --{prefix}cert are for TLS, and {url} is plaintext: use https://, or \
         leave them out"
    )]
    NoTls { prefix: &'static str, url: String },
    #[error(transparent)]
    Alone(#[from] Alone),
    #[error("cannot read {}: check --{flag}", escape_path(path))]
    File {
        path: PathBuf,
        flag: String,
        source: io::Error,
    },
    #[error("{} has no {what} in PEM: check --{flag}", escape_path(path))]
    Pem {
        path: PathBuf,
        flag: String,
        what: &'static str,
    },
    #[error(
        "the certificates cannot be used: check --ca, --cert, and that --key belongs to --cert"
    )]
    Tls(#[source] tonic::transport::Error),
    #[error("no token to show: check --{flag}")]
    Token { flag: String, source: TokenError },
    #[error("no TLS with {url}: {advice}")]
    Handshake {
        url: String,
        advice: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "cannot reach {url}: check that `bonker-gpio serve` runs there, that it listens on this \
         address and port, and that no firewall or NetworkPolicy is in between"
    )]
    Connect {
        url: String,
        source: tonic::transport::Error,
    },
    #[error("{url} did not answer within {DEADLINE:?}: check that a bonker listens there")]
    Late { url: String },
    #[error("{url} did not take the call: check that it is a bonker of this version")]
    Call { url: String, source: Refusal },
    #[error(
        "{url} hung up before it answered: check that a bonker listens there, reached by plain \
         HTTP/2, not by way of an HTTP/1 server or proxy, and that this machine has not too many \
         connections to it open"
    )]
    HungUp { url: String, source: Refusal },
    #[error("the stream of swings from {url} broke")]
    Broken { url: String, source: Refusal },
    #[error("{url} ended the stream of swings")]
    Ended { url: String },
    #[error("the bonk was not accepted: {0}")]
    NotAccepted(String),
    #[error(transparent)]
    Screen(ScreenError),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

// === impl ClientError ===

impl ClientError {
    /// Trying again does not help.
    fn is_permanent(&self) -> bool {
        match self {
            Self::NoCa { .. }
            | Self::NoTls { .. }
            | Self::File { .. }
            | Self::Pem { .. }
            | Self::Tls(_)
            | Self::Alone(_)
            | Self::Token { .. }
            | Self::Handshake { .. } => true,
            Self::Call { source, .. } => matches!(
                source.code(),
                Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied
            ),
            _ => false,
        }
    }
}

/// One line on standard output, at once.
fn print(line: &str) -> Result<(), ClientError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(ClientError::Output)
}
