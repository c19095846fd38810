//! From a kill to an incident: finds the container, the pod, the limit, the memory and its history.

mod container_names;
mod enricher;
mod lookup;
mod owner;
mod runtimes;

pub(crate) use container_names::ContainerNames;
pub(crate) use enricher::Enricher;
pub(crate) use runtimes::Runtimes;
