//! TCP ports, and limits on their peers.

mod access;
pub(crate) mod auth;
pub(crate) mod limits;
#[cfg(target_os = "linux")]
pub(crate) mod open_files;
pub(crate) mod port;
pub(crate) mod tls;

pub use access::Access;
