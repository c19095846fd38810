//! Warnings of a whole node: which containers come near their limits, by the node's marks or by what
//! their pods are annotated with. Pure.

mod annotations;
mod containers;

pub use annotations::{Complaint, Marks, PREFIX};
pub use containers::{Containers, Known, Seen};
