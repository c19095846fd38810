//! The memory controller's files of a cgroup, and the node's files in /proc, read once and in bounded time. The kernel's
//! Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst describe them.

mod counts;
mod events;
mod files;
mod hierarchy;
mod holders;
mod reader;
mod stat;

#[cfg(test)]
mod tests;

pub use counts::LimitHit;
pub use hierarchy::{Hierarchy, HierarchyError, Version};
pub use holders::{SwapCounter, Usage};
pub use reader::MemoryReader;
