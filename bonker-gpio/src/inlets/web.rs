//! HTTP/1.1 on `--http-listen`, for people, monitors and Alertmanager. Each route is a file that
//! has its own limits; `router` composes them.

mod guard;
mod health;
mod hook;
mod metrics;
mod page;
mod refusal;
mod router;

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;

use crate::app::App;
use crate::net::Access;
use crate::net::port::{PortLimits, Protocol};
use guard::Guard;
pub use hook::{BODY_DEADLINE, MAX_ALERTS, MAX_HOOK_BYTES, MAX_HOOKS, MAX_HOOKS_PER_PEER};
pub use page::MAX_LISTENERS;

/// Open connections from one address.
pub const MAX_HTTP_CONNECTIONS_PER_PEER: usize = 64;

pub(crate) const LIMITS: PortLimits = PortLimits {
    connections: 1024,
    per_peer: MAX_HTTP_CONNECTIONS_PER_PEER,
};

/// For the head of a first or next request.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// The longest head of a request, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

pub(crate) fn start(app: &App, access: &Access) -> Protocol {
    let guard = Guard::new(access.token.clone(), access.private);
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MAX_HEAD_BYTES);
    Protocol {
        http,
        preface: 0,
        routes: router::router(app, &guard),
    }
}
