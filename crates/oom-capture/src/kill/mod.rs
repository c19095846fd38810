//! From the kernel's records to kills.

mod assembler;
mod autopsy;
mod environment;
mod group;
mod level;
mod process;
mod victims;

#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use assembler::{Assembler, AutopsyWait};
pub use autopsy::{cgroup_path, decode_name, split_arguments};
pub use environment::{AllowedVariables, PatternError, VariablePattern};
pub use level::{SLACK_PAGES, is_full, level_limit_bytes};
pub use process::{Process, Rss, Trigger};
pub use victims::{Kill, OomControl, Reading, UnlistedVictims, Victim};
