//! Flags of the HTTP listener.

use std::net::SocketAddr;

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct WebArgs {
    /// Address and port for HTTP (page, metrics, webhook); off by default; port 0 takes a free one
    #[arg(long, env = "BONKER_HTTP_LISTEN", value_name = "ADDR")]
    pub(crate) http_listen: Option<SocketAddr>,
}
