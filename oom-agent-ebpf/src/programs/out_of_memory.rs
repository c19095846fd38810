//! `out_of_memory(struct oom_control *)`, which every OOM of a cgroup and of the node enters. Its argument has the cgroup
//! whose limit was hit, and after its return no more victims follow. The programs are fentry and fexit where the kernel
//! has trampolines, else a kprobe and a kretprobe. Without either the agent infers the limit.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_RB_FORCE_WAKEUP,
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use oom_agent_ebpf::InvocationEnd;

use super::{
    access::{current_invocation, now_ns, output_record},
    maps::{INVOCATIONS, Invocation},
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
        entered_ns: now_ns(),
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
    let Some(&mut left) = current_invocation() else {
        return;
    };
    let _removed = INVOCATIONS.remove(bpf_get_current_pid_tgid());
    if left.marks == 0 {
        no_victim::write_no_victim(ctx, left.control, returned);
        return;
    }
    let end = InvocationEnd {
        kind: InvocationEnd::KIND,
        marks: left.marks,
        invocation_ns: left.entered_ns,
        first_again: left.first_again as u32,
        pad: 0,
    };
    output_record(&end, BPF_RB_FORCE_WAKEUP.into());
}
