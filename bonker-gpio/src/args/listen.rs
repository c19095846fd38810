//! Where the server listens, and for whom.

use std::net::SocketAddr;

use clap::Args;
use clap::builder::BoolishValueParser;

#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "BONKER_LISTEN",
        default_value = "127.0.0.1:50051",
        value_name = "ADDR"
    )]
    pub(crate) listen: SocketAddr,
    /// Listen beyond this machine, although nothing is encrypted and anybody may bonk
    #[arg(long, env = "BONKER_INSECURE", value_parser = BoolishValueParser::new())]
    pub(crate) insecure: bool,
}

/// Refuses what this version cannot serve safely or at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "{listen} can be reached from other machines, and this version speaks plaintext to anybody: \
     listen on 127.0.0.1, or add --insecure (BONKER_INSECURE=true) if the network is trusted"
)]
pub(crate) struct Exposed {
    listen: SocketAddr,
}

// === impl ListenArgs ===

impl ListenArgs {
    pub(crate) fn check(&self) -> Result<(), Exposed> {
        let listen = self.listen;
        if self.insecure || listen.ip().to_canonical().is_loopback() {
            Ok(())
        } else {
            Err(Exposed { listen })
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Cli, Command};

    #[test]
    fn only_loopback_is_listened_on_unless_told_otherwise() {
        let check = |listen: &str, more: &[&str], fine: bool| {
            let args = ["bonker-gpio", "serve", "--listen", listen];
            let cli = Cli::try_parse_from(args.iter().chain(more)).unwrap();
            let Command::Serve(serve) = cli.command else {
                panic!("not serve");
            };
            assert_eq!(serve.listen.check().is_ok(), fine, "{listen} {more:?}");
        };
        check("127.0.0.1:0", &[], true);
        check("[::1]:0", &[], true);
        check("[::ffff:127.0.0.1]:0", &[], true);
        check("0.0.0.0:50051", &[], false);
        check("[::]:50051", &[], false);
        check("192.168.1.4:1", &[], false);
        check("0.0.0.0:50051", &["--insecure"], true);
    }
}
