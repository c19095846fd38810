//! Linux's memory controller as files, of cgroup v1 and v2: limits, usage, what memory is made of, pressure;
//! the hierarchy and where it is mounted; which container and pod a cgroup's path names; and the processes in it,
//! each by a handle that is checked to be the same process.
//!
//! One reader for each file. All of it is synchronous, and what reads several files takes a deadline.

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
pub use namespace::{CgroupNamespace, is_initial_cgroup_namespace, memory_cgroup};
pub use node_root::NodeRoot;
pub use owners::{Owners, ancestor, is_below, is_within};
pub use parse::{MemoryStat, parse_limit, parse_number, parse_stall, parse_stat};
pub use process::{
    OomScores, ProcessHandle, ProcessIdentity, ProcessStat, ProcessStatus, Processes,
    is_initial_pid_namespace, read_cgroup_pids,
};
pub use snapshot::{Hierarchy, HierarchyError, Rose, Snapshots, SwapCounter, Usage, Version};
