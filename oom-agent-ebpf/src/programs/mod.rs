//! A file for each program; `autopsy`, `environment`, `maps`, `marks`, `offsets` and `task` are shared.

mod access;
mod autopsy;
mod environment;
mod maps;
mod mark_victim;
mod marks;
mod no_victim;
mod offsets;
mod out_of_memory;
mod own_cgroup;
mod sched_process_exit;
mod sched_process_free;
mod signal_deliver;
mod signal_generate;
mod task;
