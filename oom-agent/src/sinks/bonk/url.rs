//! The URL of a bonker.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use tonic::transport::Endpoint;

use super::{CONNECT, KEEPALIVE};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BonkerUrl(String);

/// Not a URL that can be connected to.
#[derive(Debug, thiserror::Error)]
#[error("{0}: expected http://HOST:PORT or https://HOST:PORT, as in https://penguin.local:50051")]
pub struct InvalidBonkerUrl(&'static str);

// === impl BonkerUrl ===

impl BonkerUrl {
    pub fn sink_name(&self) -> String {
        format!("bonker {self}")
    }

    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// Whether what is sent there stays on this host.
    pub(super) fn is_loopback(&self) -> bool {
        let endpoint = self.endpoint();
        let host = endpoint.uri().host().unwrap_or_default();
        let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
        host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        // Checked when it was made; a static one stands in so that nothing here can panic.
        Endpoint::from_shared(self.0.clone())
            .unwrap_or_else(|_| Endpoint::from_static("http://localhost"))
            .connect_timeout(CONNECT)
            // The kernel's keepalive: a quiet stream does not wake the agent.
            .tcp_keepalive(Some(KEEPALIVE))
    }
}

impl FromStr for BonkerUrl {
    type Err = InvalidBonkerUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let endpoint = Endpoint::from_shared(text.to_owned())
            .map_err(|_| InvalidBonkerUrl("this is no URL"))?;
        let authority = endpoint
            .uri()
            .authority()
            .map_or("", |authority| authority.as_str());
        // The URL appears in logs and labels.
        if authority.contains('@') {
            return Err(InvalidBonkerUrl(
                "leave out user and password: a bonker takes none",
            ));
        }
        // `Uri` ignores an invalid port, and 80 would be taken.
        let named = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.ends_with(']'));
        if named && endpoint.uri().port_u16().is_none() {
            return Err(InvalidBonkerUrl("its port is not between 0 and 65535"));
        }
        match (endpoint.uri().scheme_str(), endpoint.uri().host()) {
            (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(InvalidBonkerUrl(
                "this URL has no http:// or https:// scheme, or no host",
            )),
        }
    }
}

impl fmt::Display for BonkerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
