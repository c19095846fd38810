//! A servo, a toy penguin and the servers that bring them together.
//!
//! ```text
//! gRPC   ─┐            ┌─ admission (queue)
//! hook   ─┤            ├─ history
//! page   ─┼─ inlets → App ─ counters
//! follow ─┘            └─Job→ arm ─Step→ servo thread (sysfs-pwm │ rppal │ …)
//! ```
//!
//! What decides (`admission`, `motion`) is synchronous; only the arm moves the
//! servo, and only `inlets::grpc`, `client` and `wire` name generated types.

#![allow(
    missing_docs,
    reason = "only the tests of this crate use its public items"
)]

mod admission;
mod app;
mod args;
mod arm;
mod bonk;
mod calibrate;
mod certs;
mod client;
mod command;
mod counters;
mod duration;
mod history;
mod inlets;
mod logs;
mod metrics;
mod motion;
mod net;
mod picture;
mod server;
mod servo;
mod signals;
mod systemd;
mod text;
mod wire;

pub use command::main;

// For the tests of this crate; no other crate uses the library.
pub use admission::{Outcome, PeerRate, Settings};
pub use app::App;
pub use arm::Arm;
pub use bonk::{MAX_ID_BYTES, MAX_TEXT_BYTES, Severity};
pub use counters::FollowCounters;
pub use history::{History, SWINGS_IN_MEMORY};
pub use inlets::follow::Follow;
pub use inlets::grpc::MAX_WATCHERS;
pub use inlets::web::{
    BODY_DEADLINE, HEAD_DEADLINE, MAX_ALERTS, MAX_HEAD_BYTES, MAX_HOOK_BYTES, MAX_HOOKS,
    MAX_HOOKS_PER_PEER, MAX_HTTP_CONNECTIONS_PER_PEER, MAX_LISTENERS,
};
pub use motion::{
    Calibration, Choreography, Duty, End, LONGEST_US, Limits, LimitsError, MAX_HOLD, Motion, Move,
    Percent, SHORTEST_US, Step, Style, Tempo, cut_short, time_on,
};
pub use net::Access;
pub use net::auth::Token;
pub use net::port::{OPEN_DEADLINE, PortLimits};
pub use net::tls::{Acceptor, TlsFiles};
pub use server::{Ports, STOP_DEADLINE, ServeError, run};
pub use servo::{Backend, Failure, Servo};
