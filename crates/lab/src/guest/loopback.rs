//! The loopback interface, up: rtnetlink(7), as there is no `ip` here.

use anyhow::{Context as _, Result, bail};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, sendto, socket};

const NEWLINK: u16 = 16;
const ERROR: u16 = 2;

/// `NLM_F_REQUEST` and `NLM_F_ACK`.
const FLAGS: u16 = 1 | 4;

const UP: u32 = 1;

/// It is the first of all interfaces.
const LO: u32 = 1;

pub(super) fn bring_up() -> Result<()> {
    let what = "bring the loopback interface up";
    // NETLINK_ROUTE is 0, as is none.
    let kernel = socket(AddressFamily::NETLINK, SocketType::RAW, None).context(what)?;
    let mut message = Vec::new();
    // struct nlmsghdr: length, type and flags, sequence, port.
    message.extend(32_u32.to_ne_bytes());
    message.extend([NEWLINK.to_ne_bytes(), FLAGS.to_ne_bytes()].concat());
    message.extend([0; 8]);
    // struct ifinfomsg: family and type, index, flags, which of them change.
    message.extend([0; 4]);
    for word in [LO, UP, UP] {
        message.extend(word.to_ne_bytes());
    }
    let to = SocketAddrNetlink::new(0, 0);
    sendto(&kernel, &message, SendFlags::empty(), &to).context(what)?;
    let mut answer = [0; 64];
    let (len, _) = recv(&kernel, &mut answer, RecvFlags::empty()).context(what)?;
    let part = |from: usize, to: usize| answer.get(..len)?.get(from..to);
    // struct nlmsgerr follows its header: 0 is an acknowledgement.
    match (part(4, 6), part(16, 20)) {
        (Some(kind), Some([0, 0, 0, 0])) if *kind == ERROR.to_ne_bytes() => Ok(()),
        _ => bail!("{what}: {answer:?}"),
    }
}
