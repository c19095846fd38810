//! The records that the eBPF programs write into a ring buffer.
//!
//! Layouts are `#[repr(C)]` without padding, in the byte order of the machine: writer and reader run on the same one.
//! The first word of each record is its kind.
#![cfg_attr(target_arch = "bpf", no_std)]

#[macro_use]
mod from_bytes;
mod members;
mod record;

#[cfg(not(target_arch = "bpf"))]
pub use from_bytes::Malformed;
pub use members::Source;
#[cfg(not(target_arch = "bpf"))]
pub use record::Record;
pub use record::{
    Autopsy, CGROUP_NAMES_LEN, CLASSIC_PID_OFFSET, CMDLINE_LEN, COMM_LEN, ENVIRONMENT_LEN,
    Environment, Exit, GROUP_UNKNOWN, InvocationEnd, KEPT_LEN, KEPT_RECORDS, LEVELS, LISTED, Level,
    Mark, NoVictim, UNKNOWN_OFFSET, drops, in_use, invoked, known,
};
