//! A client of the agent's admin port.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use xtask::lab::{Agent, Output, field, message, wait};

use super::SOON;

/// What makes an agent serve, on a port of its own.
pub(crate) const LISTEN: [&str; 2] = ["--http-listen", "127.0.0.1:0"];

/// Where an agent serves metrics and health.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admin(SocketAddr);

impl Admin {
    /// As its log tells.
    pub(crate) fn of(agent: &mut Agent) -> Self {
        Self::told_by(&mut agent.log)
    }

    /// As a log tells.
    pub(crate) fn told_by(log: &mut Output) -> Self {
        let address = log.find("address of the admin port", SOON, |line| {
            let served = message(line)? == "metrics and health are served";
            served.then(|| field(line, "address"))?
        });
        Self(address.unwrap().parse().unwrap())
    }

    /// The status and the body of what GET gives.
    pub(crate) fn get(self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect_timeout(&self.0, SOON).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.0).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// The value of that series, name and labels, where it is there.
    pub(crate) fn series(self, name: &str) -> Option<f64> {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value)
    }

    /// Scrapes until the series has that value: a kill's count comes a moment after its line.
    pub(crate) fn until(self, name: &str, expected: f64) {
        let mut last = None;
        wait::until(name, SOON, || {
            last = self.series(name);
            (last == Some(expected)).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: it is {last:?}\n{}", self.get("/metrics").1));
    }
}
