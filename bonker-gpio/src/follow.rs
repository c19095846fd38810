//! What another bonker, a hub, swings for is given to the own desk: once, in its order, and
//! across breaks of the connection and restarts on both sides.

mod counts;
mod gap;
mod progress;
mod run;

pub use counts::Following;
pub use run::Follow;
