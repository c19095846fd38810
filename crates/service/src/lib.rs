//! What every program of the project needs, one small thing each.

#[cfg(target_os = "linux")]
pub mod clock;
pub mod error_chain;
pub mod escape;
pub mod liveness;
