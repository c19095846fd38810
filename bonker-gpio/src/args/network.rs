//! Flags of the listeners.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::duration::{YEAR, duration_within, format_duration};
use crate::net::Access;
use crate::net::port::PortLimits;

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
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
    /// Address and port for HTTP (page, metrics, webhook); off by default; port 0 takes a free one
    #[arg(long, env = "BONKER_HTTP_LISTEN", value_name = "ADDR")]
    pub(crate) http_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) limits: PortLimits,
    /// Idle time after which a stream of bonks is ended; its client opens a new one
    #[arg(long, env = "BONKER_IDLE_TIMEOUT", value_name = "TIME",
          default_value = format_duration(Access::default().idle_timeout),
          value_parser = duration_within(Duration::from_secs(1), YEAR))]
    pub(crate) idle_timeout: Duration,
}
