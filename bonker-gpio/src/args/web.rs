//! Where the web side listens.

use std::net::SocketAddr;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct WebArgs {
    /// Address and port for HTTP; off if not given, and port 0 takes a free one
    #[arg(long, env = "BONKER_HTTP_LISTEN", value_name = "ADDR")]
    pub(crate) http_listen: Option<SocketAddr>,
}

/// Refuses what this version cannot serve safely.
#[derive(Debug, thiserror::Error)]
#[error(
    "{address} of --http-listen can be reached from other machines, and this version speaks \
     plaintext to anybody: listen on 127.0.0.1, or add --insecure (BONKER_INSECURE=true) if the \
     network is trusted"
)]
pub(crate) struct WebExposed {
    address: SocketAddr,
}

// === impl WebArgs ===

impl WebArgs {
    pub(crate) fn check(&self, insecure: bool) -> Result<(), WebExposed> {
        match self.http_listen {
            Some(address) if !insecure && !address.ip().to_canonical().is_loopback() => {
                Err(WebExposed { address })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Cli, Command};

    #[test]
    fn http_is_off_and_kept_to_loopback_unless_told_otherwise() {
        let check = |more: &[&str], fine: bool| {
            let args = ["bonker-gpio", "serve"];
            let cli = Cli::try_parse_from(args.iter().chain(more)).unwrap();
            let Command::Serve(serve) = cli.command else {
                panic!("not serve");
            };
            let checked = serve.web.check(serve.listen.insecure);
            assert_eq!(checked.is_ok(), fine, "{more:?}");
            serve.web.http_listen
        };
        assert_eq!(check(&[], true), None);
        assert!(check(&["--http-listen", "127.0.0.1:5000"], true).is_some());
        check(&["--http-listen", "[::1]:5000"], true);
        check(&["--http-listen", "0.0.0.0:5000"], false);
        check(&["--http-listen", "0.0.0.0:5000", "--insecure"], true);
    }
}
