//! Ports for servers that cannot listen on any free one.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, SocketAddrAny, SocketType, bind, getsockname, socket, sockopt};

/// A loopback TCP port that is no other's while the guard lives: it is bound
/// and never listens, so connections are refused, until a server with
/// `SO_REUSEPORT` listens beside it.
pub(super) fn reserve() -> Result<(u16, OwnedFd)> {
    let guard = socket(AddressFamily::INET, SocketType::STREAM, None).context("open a socket")?;
    sockopt::set_socket_reuseport(&guard, true).context("set SO_REUSEPORT")?;
    bind(&guard, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).context("bind a loopback port")?;
    let address: SocketAddrAny = getsockname(&guard).context("read the bound port")?;
    let address = SocketAddrV4::try_from(address).context("an IPv4 address")?;
    Ok((address.port(), guard))
}
