//! A client of the agent's admin port.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};

use super::wait::HANG;
use super::{Agent, Output, field, http, message};

/// Where an agent serves metrics and health.
#[derive(Debug, Clone, Copy)]
pub struct Admin(SocketAddr);

impl Admin {
    /// What makes an agent serve, on a port of its own.
    pub const LISTEN: [&str; 2] = ["--http-listen", "127.0.0.1:0"];

    /// As its log tells.
    pub fn of(agent: &mut Agent) -> Result<Self> {
        Self::told_by(&mut agent.log)
    }

    /// As a log tells.
    pub fn told_by(log: &mut Output) -> Result<Self> {
        let address = log.find("address of the admin port", HANG, |line| {
            let served = message(line)? == "metrics and health are served";
            served.then(|| field(line, "address"))?
        })?;
        Ok(Self(address.parse().context("read an address")?))
    }

    /// Where that is.
    pub fn address(self) -> SocketAddr {
        self.0
    }

    /// The status and the body of what GET gives.
    pub fn get(self, path: &str) -> Result<(u16, String)> {
        http::get(self.0, path)
    }
}
