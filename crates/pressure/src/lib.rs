//! How near containers are to their memory limits, before anything is killed: `docs/pressure.md`.
//!
//! One thread looks at every container with a limit once a second, and sooner at those that change
//! fast; without any it sleeps until the kernel tells of one.

mod counts;
mod every;
mod files;
mod growth;
mod history;
mod latest;
mod marks;
mod pace;
mod read;
mod recorder;
mod sampler;
mod stuck;
mod table;
pub mod threshold;
mod tree;
mod usage;

pub use counts::Counts;
pub use every::{Every, NoSpan};
pub use history::{Before, Growth};
pub use latest::Latest;
pub use recorder::{Forecast, Recorder};
pub use sampler::{Sampler, SamplerError};
pub use stuck::NoVictimCause;
pub use tree::Source;
pub use usage::{Key, Notice, Pass, Pressure, Stall, Take, Usage};

#[cfg(test)]
mod tests;
