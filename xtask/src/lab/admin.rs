//! A client of the agent's admin port.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Agent, Output, field, message};

/// How long the port may take to be named, and an answer to come.
const SOON: Duration = Duration::from_secs(20);

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
        let address = log.find("address of the admin port", SOON, |line| {
            let served = message(line)? == "metrics and health are served";
            served.then(|| field(line, "address"))?
        })?;
        Ok(Self(address.parse().context("read an address")?))
    }

    /// The status and the body of what GET gives.
    pub fn get(self, path: &str) -> Result<(u16, String)> {
        let attempt = || format!("GET http://{}{path}", self.0);
        let mut stream = TcpStream::connect_timeout(&self.0, SOON).with_context(attempt)?;
        stream.set_read_timeout(Some(SOON)).with_context(attempt)?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.0).with_context(attempt)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(attempt)?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(attempt)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Ok((status.with_context(attempt)?, body.to_owned()))
    }
}
