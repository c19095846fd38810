//! What a warning does: a signal, to exactly the process that was measured, and a POST request.

mod members;
mod post;
mod signal;

pub(crate) use members::{
    SignalTarget, Signalled, find_likeliest_victim, read_worst_scores, signal_cgroup,
};
pub(crate) use post::{ConfigError, Notice, NoticeProcess, Post};
#[cfg(test)]
pub(crate) use signal::SendError;
pub(crate) use signal::{LevelSignals, Signal, may_signal_other_users};
