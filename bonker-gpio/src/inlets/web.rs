//! HTTP/1.1 on `--http-listen`, for people, monitors and Alertmanager. Each route is a file that
//! has its own limits; `router` composes them.

mod body;
mod connections;
mod guard;
mod health;
mod hook;
mod metrics;
mod page;
mod peer;
mod router;

use crate::app::App;
use crate::net::Access;
use crate::net::port::Port;
use connections::Web;
pub(crate) use connections::port;
pub use connections::{HEAD_DEADLINE, MAX_HEAD_BYTES, MAX_HTTP_CONNECTIONS_PER_PEER};
use guard::Guard;
pub use hook::{BODY_DEADLINE, MAX_ALERTS, MAX_HOOK_BYTES, MAX_HOOKS, MAX_HOOKS_PER_PEER};
pub use page::MAX_LISTENERS;

/// Serves on `port`, if there is one, until the app stops.
pub(crate) fn start(app: &App, port: Option<Port>, access: Access) -> Web {
    let guard = Guard::new(access.token, access.private);
    Web::start(port, router::router(app, &guard), app.stopping())
}
