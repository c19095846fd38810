//! Linux's memory controller as files, of cgroup v1 and v2: limits, usage, what memory is made of, pressure;
//! the hierarchy and where it is mounted; and what a cgroup's path tells of the container and pod in it.
//!
//! One reader for each file. All of it is synchronous, and what reads several files takes a deadline.

pub mod cgroup;
mod memory;
mod namespace;
mod node_root;
mod owners;
mod snapshot;
pub mod vmstat;

pub use memory::{Memory, Percent, Pressure, Stalled, Stat};
pub use namespace::{CgroupNamespace, is_initial_cgroup_namespace, memory_cgroup};
pub use node_root::NodeRoot;
pub use owners::{Owners, ancestor, is_below, is_within};
pub use snapshot::{
    Hierarchy, HierarchyError, Rose, Snapshots, SwapCounter, Usage, Version, cpu_psi, limit, psi,
};
