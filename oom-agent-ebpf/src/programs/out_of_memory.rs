//! `out_of_memory(struct oom_control *)`, entered for every OOM, a cgroup's and the node's:
//! what it is given says whose limit was hit. As fentry where the kernel has trampolines,
//! else as a kprobe; without either the limit is inferred.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};

use super::maps::{INVOCATIONS, Invocation};

#[fentry(function = "out_of_memory")]
pub(super) fn out_of_memory_fentry(ctx: FEntryContext) -> i32 {
    enter(ctx.arg::<u64>(0));
    0
}

#[kprobe(function = "out_of_memory")]
pub(super) fn out_of_memory(ctx: ProbeContext) -> u32 {
    if let Some(control) = ctx.arg::<u64>(0) {
        enter(control);
    }
    0
}

#[inline(always)]
fn enter(control: u64) {
    let invocation = Invocation {
        // SAFETY: takes nothing.
        entered_ns: unsafe { bpf_ktime_get_ns() },
        control,
    };
    // A full LRU map makes room by itself.
    let _always = INVOCATIONS.insert(bpf_get_current_pid_tgid(), invocation, 0);
}
