//! One file a program; what they share is in `maps`, `offsets` and `task`.

mod maps;
mod mark_victim;
mod offsets;
mod sched_process_exit;
mod signal_deliver;
mod task;
