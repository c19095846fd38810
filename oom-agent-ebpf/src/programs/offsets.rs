//! The offsets of the kernel's structure members. Rust has no CO-RE relocations, so the agent reads them from the running
//! kernel's BTF and sets them before it loads the object.

use aya_ebpf::Global;
use oom_agent_ebpf::{CLASSIC_PID_OFFSET, UNKNOWN_OFFSET};

/// The offset of `pid` in the record of the classic tracepoint, from its `format` file.
#[unsafe(no_mangle)]
pub(super) static CLASSIC_PID: Global<u32> = Global::new(CLASSIC_PID_OFFSET);

/// 1 if the victims' environments are to be read.
#[unsafe(no_mangle)]
pub(super) static READ_ENVIRONMENT: Global<u32> = Global::new(0);

macro_rules! globals {
    ($($name:ident: $source:expr,)+) => {
        $(#[unsafe(no_mangle)] pub(super) static $name: Global<u32> = Global::new(UNKNOWN_OFFSET);)+
    };
}

oom_agent_ebpf::kernel_members!(globals);
