//! Flags of the gRPC listener.

use std::net::SocketAddr;

use clap::Args;
use clap::builder::BoolishValueParser;

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct ListenArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "BONKER_LISTEN",
        default_value = "127.0.0.1:50051",
        value_name = "ADDR"
    )]
    pub(crate) listen: SocketAddr,
    /// Allow other machines to connect without TLS or without proof of who they are
    #[arg(long, env = "BONKER_INSECURE", value_parser = BoolishValueParser::new())]
    pub(crate) insecure: bool,
}
