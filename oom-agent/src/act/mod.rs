//! What is done when a container comes near its limit.

mod members;
mod post;
mod signal;

pub use members::{Signalled, Whom, likeliest, signal as signal_cgroup, worst};
pub use post::{ConfigError, Notice, Post, PostError, Process as Noticed};
pub use signal::{BadSignal, SendError, Sig};
