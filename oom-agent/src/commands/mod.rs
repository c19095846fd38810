//! The commands that need no pipeline.

pub(crate) mod cgroup;
pub(crate) mod check;
pub(crate) mod unpin;
