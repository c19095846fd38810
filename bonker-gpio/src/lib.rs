//! A servo, a toy penguin and a `bonk.v1` server that brings them together.
//!
//! ```text
//! client ─gRPC→ server ─Bonk→ desk ─Job→ arm ─Step→ servo (sysfs-pwm │ rppal │ …)
//! peers  ─HTTP→ web ────────↗   ↑ history ←Swung┘
//! ```
//!
//! What decides (`motion`, `desk`, `client::backoff`) is synchronous; only the
//! arm touches the servo, and only `server`, `client` and `wire` know the generated types.

mod args;
mod arm;
mod auth;
mod bonk;
mod bounds;
mod calibrate;
mod certs;
mod client;
mod command;
mod desk;
#[cfg(target_os = "linux")]
mod files;
mod follow;
mod history;
mod logs;
mod metrics;
mod motion;
mod picture;
mod port;
mod report;
mod server;
mod servo;
mod signals;
mod systemd;
mod text;
mod tls;
mod web;
mod wire;

pub use arm::{Arm, Backend, Heartbeat};
pub use auth::{MIN_TOKEN_BYTES, Token, TokenError};
pub use bonk::{Bonk, MAX_ID_BYTES, MAX_LABEL_BYTES, MAX_LABELS, MAX_TEXT_BYTES, Severity};
pub use bonk::{FULL_PERMILLE, MAX_SAMPLES, MAX_VERDICT_BYTES};
pub use command::main;
pub use desk::{
    Answer, DeskHandle, Filter, Hours, LabelRule, MAX_SNOOZE, MEMORY_CAPACITY, Outcome, PeerRate,
    QuietHours, Settings, Status, Tally, WATCH_CAPACITY,
};
pub use follow::{Follow, Following};
pub use history::{
    HISTORY_CAPACITY, History, HistoryError, Position, Replay, SWINGS_IN_MEMORY, Swung,
};
pub use motion::{
    Calibration, Choreography, Duty, DutyError, End, FRAME_US, Gesture, LONGEST_US, Limits,
    LimitsError, MAX_HOLD, Motion, Move, Percent, SHORTEST_US, Step, Style, Tempo, cut_short,
    time_on,
};
pub use port::{Connection, Port, PortLimits};
pub use server::{Access, MAX_WATCHERS, PREFACE_DEADLINE, Ports, STOP_DEADLINE, ServeError, run};
pub use servo::{
    Choice, Hardware, PickError, Picked, PwmWish, Screen, Servo, ServoError, WATCHDOG, pick,
    watched,
};
pub use text::{escape, escape_json};
pub use tls::{Acceptor, HANDSHAKE_DEADLINE, Stream, TlsError, TlsFiles};
pub use web::{
    BODY_DEADLINE, HEAD_DEADLINE, MAX_ALERTS, MAX_HEAD_BYTES, MAX_HOOK_BYTES, MAX_HOOKS,
    MAX_HOOKS_PER_PEER, MAX_HTTP_CONNECTIONS, MAX_HTTP_CONNECTIONS_PER_PEER, MAX_LISTENERS,
};
