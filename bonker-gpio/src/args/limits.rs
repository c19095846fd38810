//! Limits of what peers may use of the server.

use std::time::Duration;

use clap::Args;

use super::duration::duration;
use crate::port::PortLimits;

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct LimitArgs {
    /// Most gRPC connections that may be open; further ones wait
    #[arg(long, env = "BONKER_MAX_CONNECTIONS", default_value_t = 8192, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) max_connections: u32,
    /// Most of them, and most streams, from one address; behind a NAT or a load balancer many
    /// clients share one
    #[arg(long, env = "BONKER_MAX_CONNECTIONS_PER_PEER", default_value_t = 6144, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) max_connections_per_peer: u32,
    /// Idle time after which a stream of bonks is ended; its client opens a new one
    #[arg(long, env = "BONKER_IDLE_TIMEOUT", default_value = "12h", value_name = "TIME",
          value_parser = idle)]
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
