//! Limits on what peers may use: how many connections or requests at a time, in all and from one
//! address, and how many log lines.

mod per_peer;
mod throttle;
mod total;

pub(crate) use per_peer::{PeerLimit, PeerPermit};
pub(crate) use throttle::Throttle;
pub(crate) use total::{Permit, TotalLimit};
