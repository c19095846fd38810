//! Captures every OOM kill of this host's kernel with eBPF.
//!
//! [`Probe`] attaches the programs and gives their records; [`Assembler`] makes kills of records: who was
//! chosen, what it held, who set the OOM killer off, and what `out_of_memory` was given. Time is an argument,
//! and no thread is started but those that read the ring.

mod kill;
pub mod probe;

pub use kill::{
    Allow, Assembler, Control, Expect, Fate, Kill, Pattern, PatternError, Process, Rss,
    SLACK_PAGES, Trigger, Unlisted, Victim, arguments, is_full, limit_of, memcg_path, text,
};
pub use oom_agent_ebpf as record;
pub use probe::Probe;
pub use service::clock::monotonic_ns;
