//! The commands that need no pipeline.

pub mod cgroup;
pub mod check;
pub mod unpin;
