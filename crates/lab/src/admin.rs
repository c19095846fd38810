//! A client of the agent's admin port.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};

use crate::agent::{Agent, field, message};
use crate::http;
use crate::output::Output;
use crate::scrape::Scrape;
use crate::wait::HANG;

/// Where an agent serves metrics and health.
#[derive(Debug, Clone, Copy)]
pub struct Admin(pub SocketAddr);

impl Admin {
    /// What makes an agent serve, on a port of its own.
    pub const LISTEN: [&str; 2] = ["--http-listen", "127.0.0.1:0"];

    /// Where an agent serves, by its log.
    pub fn of_agent(agent: &mut Agent) -> Result<Self> {
        Self::find_in(&mut agent.log)
    }

    /// The same, by any log.
    pub fn find_in(log: &mut Output) -> Result<Self> {
        let address = log.find("address of the admin port", HANG, |line| {
            let is_served = message(line)? == "metrics and health are served";
            is_served.then(|| field(line, "address"))?
        })?;
        Ok(Self(address.parse().context("read an address")?))
    }

    /// The port's address.
    pub fn address(self) -> SocketAddr {
        self.0
    }

    /// The status and the body of what GET gives.
    pub fn get(self, path: &str) -> Result<(u16, String)> {
        http::get(self.0, path)
    }

    /// Its metrics.
    pub fn scrape(self) -> Result<Scrape> {
        Ok(Scrape::parse(&http::get_ok(self.0, "/metrics")?))
    }
}
