//! Decides what becomes of each item, and when the arm swings for it. `Desk` is pure; everybody
//! else goes through a `DeskHandle`.

mod answer;
mod decide;
mod filter;
mod handle;
mod memory;
mod moment;
mod place;
mod queue;
mod quiet;
mod rate;
mod settings;

pub use answer::{Answer, Outcome, Tally};
pub use filter::{Filter, LabelRule};
pub use handle::{DeskHandle, Status, WATCH_CAPACITY};
pub use memory::MEMORY_CAPACITY;
pub(crate) use queue::Job;
pub use quiet::{Hours, QuietHours};
pub use rate::PeerRate;
pub use settings::{MAX_SNOOZE, Settings};

#[cfg(test)]
mod tests;
