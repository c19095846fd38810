//! Where the web side listens.

use std::net::SocketAddr;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct WebArgs {
    /// Address and port for HTTP; off if not given, and port 0 takes a free one
    #[arg(long, env = "BONKER_HTTP_LISTEN", value_name = "ADDR")]
    pub(crate) http_listen: Option<SocketAddr>,
}
