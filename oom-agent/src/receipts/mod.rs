//! Keeps track of deliveries, so that each kill is reported exactly once, also over restarts of the agent.
//!
//! 1. Its records are in pinned maps ([`Pinned`]) from when they leave the ring.
//! 2. When its line is written, they record that: the next agent writes no second one.
//! 3. The journal records its incident and the sinks that are to deliver it; its records are removed then, or
//!    where the disk takes nothing.
//! 4. Each sink settles its [`Receipts`] when it has delivered the incident or given it up.
//!
//! An agent begins with what the last one has left at each step.

mod journal;
mod ledger;
mod pinned;
mod store;

#[cfg(test)]
mod tests;

pub(crate) use journal::{Deliveries, Receipts};
pub(crate) use pinned::Pinned;
