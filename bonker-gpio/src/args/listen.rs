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
    /// Listen beyond this machine, although nothing is encrypted or anybody may bonk
    #[arg(long, env = "BONKER_INSECURE", value_parser = BoolishValueParser::new())]
    pub(crate) insecure: bool,
}
