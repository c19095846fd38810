//! Warnings of a whole node: which containers come near their limits, by the node's marks or by what
//! their pods are annotated with, and what is told of it. Pure.

mod annotations;
mod containers;
mod pods;
mod warning;

#[cfg(test)]
pub(crate) mod tests;

pub use annotations::{Complaint, PREFIX, Policy};
pub use containers::{Containers, Crossed, Seen};
pub use pods::{Ask, Known};
pub use warning::{Signal, Unheeded, Warning};
