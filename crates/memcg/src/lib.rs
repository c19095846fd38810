//! The files of Linux's memory controller, cgroup v1 and v2: limits, usage, memory by kind and pressure; where the
//! hierarchy is mounted; the container and pod that a cgroup's path names; and the processes in it, each by a handle
//! that is checked to be the same process.
//!
//! Each file has one reader. All are synchronous, and those of several files take a deadline.

pub mod cgroup;
mod memory;
mod namespace;
mod node_root;
mod owners;
mod parse;
mod process;
mod snapshot;
pub mod vmstat;

pub use memory::{Memory, Percent, Pressure, Stalled, Stat};
pub use namespace::{CgroupNamespace, parse_memory_cgroup};
pub use node_root::NodeRoot;
pub use owners::{Owners, ancestor, is_below, is_within};
pub use parse::{MemoryStat, parse_keyed, parse_limit, parse_number, parse_psi, parse_stat};
pub use process::{
    OomScores, ProcessHandle, ProcessIdentity, ProcessStat, ProcessStatus, Processes,
    is_initial_pid_namespace, read_cgroup_pids,
};
pub use snapshot::{
    Hierarchy, HierarchyError, LimitHit, MemoryReader, SwapCounter, Usage, Version,
};
