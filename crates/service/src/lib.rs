//! Small parts that every program of the project needs.

pub mod backoff;
#[cfg(target_os = "linux")]
pub mod clock;
pub mod error_chain;
pub mod escape;
pub mod file;
pub mod liveness;
