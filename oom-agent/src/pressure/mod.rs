//! How near containers are to their memory limits, before anything is killed.

mod usage;

pub use usage::{Key, Pass, Pressure, Stall, Take, Usage};
