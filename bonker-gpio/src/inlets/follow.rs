//! Submits what another bonker, a hub, swings for: once, in its order, and across breaks of the
//! connection and restarts on both sides.

mod gap;
mod progress;
mod run;

pub use run::Follow;
