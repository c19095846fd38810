//! Flags of TLS and authentication.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::{Alone, require};
use crate::net::auth::{Token, TokenError};
use crate::net::tls::{Acceptor, TlsError, TlsFiles};

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct SecurityArgs {
    /// Server certificate (PEM); `bonker-gpio certs` creates one. Read at start
    #[arg(long, env = "BONKER_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert (PEM)
    #[arg(long, env = "BONKER_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Require gRPC clients to have a certificate of this CA (PEM)
    #[arg(long, env = "BONKER_TLS_CLIENT_CA", value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Require clients to send the token in this file, as a bearer token or as the password of
    /// basic authentication; the page stays open to watch. Read at start; with --tls-client-ca,
    /// gRPC clients need both
    #[arg(long, env = "BONKER_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Require the token to watch the page, too; browsers ask for it as a password
    #[arg(long, env = "BONKER_PRIVATE", value_parser = BoolishValueParser::new())]
    pub(crate) private: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// gRPC.
    Http2,
    /// Browsers and webhooks.
    Http1,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SecurityError {
    #[error(transparent)]
    Alone(#[from] Alone),
    #[error(
        "--{flag} {address} can be reached from other machines, and nothing would be encrypted: \
         make certificates with `bonker-gpio certs` and give --tls-cert, --tls-key and \
         --tls-client-ca, listen on 127.0.0.1, or add --insecure (BONKER_INSECURE=true) if the \
         network is trusted"
    )]
    Plaintext {
        flag: &'static str,
        address: SocketAddr,
    },
    #[error(
        "--{flag} {address} can be reached from other machines, and anybody there might bonk: \
         give {proof}, or add --insecure (BONKER_INSECURE=true) if the network is trusted"
    )]
    Anybody {
        flag: &'static str,
        address: SocketAddr,
        proof: &'static str,
    },
}

// === impl SecurityArgs ===

impl SecurityArgs {
    /// Whether `flag`'s `address` may be listened on; `insecure` allows what is unsafe and
    /// not what is contradictory. Loopback needs no proof.
    pub(crate) fn check(
        &self,
        flag: &'static str,
        address: SocketAddr,
        protocol: Protocol,
        insecure: bool,
    ) -> Result<(), SecurityError> {
        let cert = ("tls-cert", self.tls_cert.is_some());
        let key = ("tls-key", self.tls_key.is_some());
        let client_ca = ("tls-client-ca", self.tls_client_ca.is_some());
        let private = ("private", self.private);
        let token = ("token-file", self.token_file.is_some());
        for (given, needed) in [
            (key, cert),
            (cert, key),
            (client_ca, cert),
            (private, token),
        ] {
            require(given, needed)?;
        }
        if insecure || address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        if self.tls_cert.is_none() {
            return Err(SecurityError::Plaintext { flag, address });
        }
        // Browsers and webhooks have no certificate.
        let (proven, proof) = match protocol {
            Protocol::Http2 => (
                self.tls_client_ca.is_some() || self.token_file.is_some(),
                "--tls-client-ca or --token-file",
            ),
            Protocol::Http1 => (self.token_file.is_some(), "--token-file"),
        };
        if proven {
            Ok(())
        } else {
            Err(SecurityError::Anybody {
                flag,
                address,
                proof,
            })
        }
    }

    /// For gRPC and for HTTP: TLS as the files have it; plaintext without them.
    pub(crate) fn acceptors(&self) -> Result<(Acceptor, Acceptor), TlsError> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok((Acceptor::plaintext(), Acceptor::plaintext()));
        };
        Acceptor::pair(&TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
            client_ca: self.tls_client_ca.clone(),
        })
    }

    /// The token, if one is demanded.
    pub(crate) fn token(&self) -> Result<Option<Token>, TokenError> {
        self.token_file.as_deref().map(Token::read).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::Protocol;
    use crate::args::tests::serve;

    fn check(listen: &str, more: &[&str], protocol: Protocol) -> Result<(), String> {
        let serve = serve(&[&["--listen", listen], more].concat()).unwrap();
        let (address, insecure) = (serve.network.listen, serve.network.insecure);
        let checked = serve.security.check("listen", address, protocol, insecure);
        checked.map_err(|why| why.to_string())
    }

    const TLS: [&str; 4] = ["--tls-cert", "c", "--tls-key", "k"];
    const CA: [&str; 2] = ["--tls-client-ca", "ca"];
    const FINE: [Option<&str>; 2] = [None; 2];
    const TOKEN: [&str; 2] = ["--token-file", "t"];

    #[test]
    fn only_loopback_is_open_without_proof_and_encryption() {
        let check = |listen: &str, more: &[&[&str]], wanted: [Option<&str>; 2]| {
            let more = more.concat();
            for (protocol, wanted) in [Protocol::Http2, Protocol::Http1].into_iter().zip(wanted) {
                match (check(listen, &more, protocol), wanted) {
                    (Ok(()), None) => (),
                    (Err(why), Some(part)) if why.contains(part) => (),
                    (got, _) => panic!("{listen} {more:?} {protocol:?}: {got:?}"),
                }
            }
        };
        let both = |part| [Some(part); 2];
        check("127.0.0.1:0", &[], FINE);
        check("[::1]:0", &[], FINE);
        check("[::ffff:127.0.0.1]:0", &[], FINE);
        check("127.0.0.1:0", &[&TLS, &CA, &TOKEN], FINE);
        for open in ["0.0.0.0:50051", "[::]:50051", "192.168.1.4:1"] {
            check(open, &[], both("nothing would be encrypted"));
            check(open, &[&TOKEN], both("nothing would be encrypted"));
            check(open, &[&["--insecure"]], FINE);
            check(open, &[&TLS], both("anybody there might bonk"));
            check(open, &[&TLS, &["--insecure"]], FINE);
            check(open, &[&TLS, &CA], [None, Some("give --token-file,")]);
            check(open, &[&TLS, &TOKEN], FINE);
        }
    }

    #[test]
    fn halves_are_refused_everywhere() {
        for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
            for (more, sentence) in [
                (
                    &["--tls-key", "k"][..],
                    "--tls-key does nothing without --tls-cert",
                ),
                (
                    &["--tls-cert", "c", "--insecure"],
                    "--tls-cert does nothing without --tls-key",
                ),
                (
                    &["--tls-client-ca", "a"],
                    "--tls-client-ca does nothing without --tls-cert",
                ),
                (
                    &["--private"],
                    "--private does nothing without --token-file",
                ),
            ] {
                let why = check(listen, more, Protocol::Http2).unwrap_err();
                assert!(why.starts_with(sentence), "{why}");
            }
        }
    }
}
