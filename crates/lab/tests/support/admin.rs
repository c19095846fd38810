//! A client of the agent's admin port.

use std::net::SocketAddr;

use lab::{self, Agent, Output, wait};

use super::SOON;

/// What makes an agent serve, on a port of its own.
pub(crate) const LISTEN: [&str; 2] = lab::Admin::LISTEN;

/// Where an agent serves metrics and health.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admin(lab::Admin);

impl Admin {
    /// Where an agent serves, by its log.
    pub(crate) fn of_agent(agent: &mut Agent) -> Self {
        Self::find_in(&mut agent.log)
    }

    /// The same, by any log.
    pub(crate) fn find_in(log: &mut Output) -> Self {
        Self(lab::Admin::find_in(log).unwrap())
    }

    /// Where that is.
    pub(crate) fn address(self) -> SocketAddr {
        self.0.address()
    }

    /// The status and the body of what GET gives.
    pub(crate) fn get(self, path: &str) -> (u16, String) {
        self.0.get(path).unwrap()
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
