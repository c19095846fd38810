//! Limits of what peers may use of the server.

use std::time::Duration;

use clap::Args;

use super::duration::{duration, format_duration};
use crate::net::Access;
use crate::net::port::PortLimits;

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct LimitArgs {
    /// Most gRPC connections that may be open; further ones wait
    #[arg(long, env = "BONKER_MAX_CONNECTIONS", value_name = "N",
          default_value = PortLimits::default().connections.to_string(),
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) max_connections: u32,
    /// Most of them, and most streams, from one address; behind a NAT or a load balancer many
    /// clients share one
    #[arg(long, env = "BONKER_MAX_CONNECTIONS_PER_PEER", value_name = "N",
          default_value = PortLimits::default().per_peer.to_string(),
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) max_connections_per_peer: u32,
    /// Idle time after which a stream of bonks is ended; its client opens a new one
    #[arg(long, env = "BONKER_IDLE_TIMEOUT", value_name = "TIME", value_parser = idle,
          default_value = format_duration(Access::default().idle_timeout))]
    pub(crate) idle_timeout: Duration,
}

// === impl LimitArgs ===

impl LimitArgs {
    pub(crate) fn port(&self) -> PortLimits {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        PortLimits {
            connections: count(self.max_connections),
            per_peer: count(self.max_connections_per_peer),
        }
    }
}

fn idle(text: &str) -> Result<Duration, String> {
    let idle = duration(text)?;
    if idle < Duration::from_secs(1) || idle > Duration::from_hours(24 * 365) {
        return Err("it lasts 1s to a year".to_owned());
    }
    Ok(idle)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Cli, Command};
    use crate::net::Access;

    #[test]
    fn the_defaults_are_the_servers() {
        let cli = Cli::try_parse_from(["bonker-gpio", "serve"]).unwrap();
        let Command::Serve(serve) = cli.command else {
            panic!("not serve");
        };
        let own = Access::default();
        assert_eq!(serve.limits.port(), own.limits);
        assert_eq!(serve.limits.idle_timeout, own.idle_timeout);
    }
}
