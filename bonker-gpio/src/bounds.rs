//! What strangers may take of both ports: so many connections in all and of one address,
//! and so many words in the log.

mod peers;
mod places;
mod throttle;

pub(crate) use peers::{Guest, Peers};
pub(crate) use places::{Place, Places};
pub(crate) use throttle::Throttle;
