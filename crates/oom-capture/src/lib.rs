//! Captures every OOM kill of a Linux host with eBPF.
//!
//! [`Probe`] loads and attaches the programs, and passes their records to a closure. [`Assembler`] joins the records
//! into [`Kill`]s: the victims, the process that triggered the OOM killer, and the arguments of `out_of_memory`, which
//! show whose limit was hit. A kill can be complete only some time after its first record, so the closure returns when
//! it has to be called next.
//!
//! The only threads are the two that read the ring buffer. Nothing else of the process is changed, unless
//! [`AttachOptions::tuned`](probe::AttachOptions::tuned) is set.
//!
//! ```no_run
#![doc = include_str!("../examples/print_kills.rs")]
//! ```

mod kill;
pub mod probe;

pub use kill::{
    AllowedVariables, Assembler, AutopsyWait, Kill, OomControl, PatternError, Process, Reading,
    Rss, SLACK_PAGES, Trigger, UnlistedVictims, VariablePattern, Victim, cgroup_path, decode_name,
    is_full, level_limit_bytes, split_arguments,
};
pub use oom_agent_ebpf as record;
pub use probe::Probe;
pub use rustix::param::page_size;
pub use service::clock::monotonic_ns;
