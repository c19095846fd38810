//! A servo, a toy penguin and a `bonk.v1` server that brings them together.
//!
//! ```text
//! client ─gRPC→ server ─Bonk→ desk ─Job→ arm ─Step→ servo (rppal │ sim │ null)
//! peers  ─HTTP→ web ────────↗   ↑ history ←Swung┘
//! ```
//!
//! What decides (`swing`, `desk`, `client::backoff`) is synchronous; only the
//! arm touches the servo, and only `server`, `client` and `wire` know the generated types.

mod args;
mod arm;
mod bonk;
mod bounds;
mod client;
mod command;
mod desk;
mod history;
mod logs;
mod report;
mod server;
mod servo;
mod signals;
mod swing;
mod systemd;
mod text;
mod web;
mod wire;

pub use arm::{Arm, Backend, Heartbeat};
pub use bonk::{Bonk, MAX_ID_BYTES, MAX_LABEL_BYTES, MAX_LABELS, MAX_TEXT_BYTES, Severity};
pub use command::main;
pub use desk::{
    Answer, DeskHandle, Filter, LabelRule, MAX_SNOOZE, MEMORY_CAPACITY, Outcome, PeerRate,
    Settings, Status, Tally, WATCH_CAPACITY,
};
pub use history::{HISTORY_CAPACITY, History, Position, Replay, Swung};
pub use server::{
    MAX_CONNECTIONS, MAX_CONNECTIONS_PER_PEER, MAX_WATCHERS, PREFACE_DEADLINE, Ports,
    STOP_DEADLINE, ServeError, run,
};
pub use servo::{Choice, PickError, Picked, Screen, Servo, ServoError, pick};
pub use swing::{
    Calibration, FRAME_US, Gesture, Limits, LimitsError, MAX_HOLD, Step, Tempo, steps,
};
pub use text::{escape, escape_json};
pub use web::{HEAD_DEADLINE, MAX_HEAD_BYTES, MAX_HTTP_CONNECTIONS, MAX_HTTP_CONNECTIONS_PER_PEER};
