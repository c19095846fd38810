//! What every program of the project needs, one small thing each.

pub mod clock;
pub mod error_chain;
pub mod escape;
pub mod liveness;
