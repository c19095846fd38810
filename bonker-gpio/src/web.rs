//! The web side on `--http-listen`: HTTP/1.1 for people, monitors and Alertmanager.
//!
//! `connections` bounds every peer, `site` is what the routes share; each route is a file of
//! its own that `router` knows.

mod body;
mod connections;
mod guard;
mod health;
mod hook;
mod metrics;
mod page;
mod router;
mod shrug;
mod site;

pub use connections::{
    HEAD_DEADLINE, MAX_HEAD_BYTES, MAX_HTTP_CONNECTIONS, MAX_HTTP_CONNECTIONS_PER_PEER,
};
pub(crate) use connections::{port, start};
pub(crate) use guard::Guard;
pub use hook::{BODY_DEADLINE, MAX_ALERTS, MAX_HOOK_BYTES, MAX_HOOKS, MAX_HOOKS_PER_PEER};
pub use page::MAX_LISTENERS;
pub(crate) use site::Site;
