//! Warnings of a whole node: which containers come near their limits, by the node's thresholds or by their
//! pods' annotations, and the report of each. Pure.

mod containers;
mod pod_policies;
mod policy;
pub(crate) mod units;
mod warning;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use containers::{ContainerCrossing, Containers};
pub(crate) use pod_policies::PodLookup;
#[cfg(test)]
pub(crate) use policy::AnnotationError;
pub(crate) use policy::{PREFIX, Policy};
pub(crate) use warning::SignalOutcome;
pub(crate) use warning::{BadAnnotations, Warning};
