//! `out_of_memory(struct oom_control *)`, which every OOM of a cgroup and of the node enters. Its argument has the cgroup
//! whose limit was hit, and after its return no more victims follow. The programs are fentry and fexit where the kernel
//! has trampolines, else a kprobe and a kretprobe. Without either the agent infers the limit.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_RB_FORCE_WAKEUP,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use oom_agent_ebpf::{InvocationEnd, drops};

use super::{
    maps::{INVOCATIONS, Invocation, RECORDS, count_drop},
    no_victim,
};

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

#[fexit(function = "out_of_memory")]
pub(super) fn out_of_memory_fexit(ctx: FExitContext) -> i32 {
    // The return value follows the only argument; bpf_get_func_ret needs Linux 5.17.
    leave(&ctx, ctx.arg::<u64>(1));
    0
}

#[kretprobe(function = "out_of_memory")]
pub(super) fn out_of_memory_return(ctx: RetProbeContext) -> u32 {
    leave(&ctx, ctx.ret::<u64>());
    0
}

#[inline(always)]
fn enter(control: u64) {
    let invocation = Invocation {
        // SAFETY: takes nothing.
        entered_ns: unsafe { bpf_ktime_get_ns() },
        control,
        marks: 0,
        first: 0,
        first_again: 0,
    };
    // An LRU map always has room.
    let _inserted = INVOCATIONS.insert(bpf_get_current_pid_tgid(), invocation, 0);
}

#[inline(always)]
fn leave<C: EbpfContext>(ctx: &C, returned: u64) {
    let thread = bpf_get_current_pid_tgid();
    let Some(found) = INVOCATIONS.get_ptr(thread) else {
        return;
    };
    // SAFETY: the verifier has checked that it is not null; the map's memory outlives the program.
    let Invocation {
        entered_ns,
        control,
        marks,
        first_again,
        ..
    } = unsafe { *found };
    let _removed = INVOCATIONS.remove(thread);
    if marks == 0 {
        no_victim::write_no_victim(ctx, control, returned);
        return;
    }
    let end = InvocationEnd {
        kind: InvocationEnd::KIND,
        marks,
        invocation_ns: entered_ns,
        first_again: first_again as u32,
        pad: 0,
    };
    if RECORDS
        .output::<InvocationEnd>(end, BPF_RB_FORCE_WAKEUP.into())
        .is_err()
    {
        count_drop(drops::RING_FULL);
    }
}
