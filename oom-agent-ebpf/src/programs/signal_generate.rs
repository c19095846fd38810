//! `signal:signal_generate`: the kernel itself sends SIGKILL, as its OOM killer does just before
//! it marks. A victim that runs on another CPU takes the signal at once; noted here, under the lock
//! that it must take first, it cannot get past the programs that are to read it.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use oom_agent_ebpf::drops;

use super::{
    maps::{INVOCATIONS, MARKED, Marked, count_drop},
    marks, offsets as at, task,
};

const SIGKILL: u32 = 9;

/// `SEND_SIG_PRIV` of include/linux/sched/signal.h: sent by the kernel, to nobody's order.
const SEND_SIG_PRIV: u64 = 1;

#[btf_tracepoint(function = "signal_generate")]
pub(super) fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    // Every signal of the machine passes here: leave at once.
    if ctx.arg::<u64>(0) as u32 != SIGKILL || ctx.arg::<u64>(1) != SEND_SIG_PRIV {
        return 0;
    }
    // The first process of a PID namespace, and a tracer, take others along when they end, by the same
    // signal. Anybody can have that done to thousands.
    if task::current_is_exiting() {
        return 0;
    }
    // By what its mark will be looked up: the victim that is sent the signal is the one that is marked.
    let sent: u64 = ctx.arg(2);
    let holder = if at::MARK_VICTIM_HAS_TASK.load() == 1 {
        marks::leader(sent)
    } else {
        sent
    };
    let Some(key) = task::member::<u32>(holder, &at::TASK_PID) else {
        return 0;
    };
    let sender = bpf_get_current_pid_tgid();
    if let Some(earlier) = marks::of(key, || holder) {
        // It was sent one before, and lives on: it sleeps uninterruptibly, or its group follows it.
        earlier.sender = sender;
        if earlier.confirmed != 0
            && let Some(invocation) = INVOCATIONS.get_ptr_mut(sender)
        {
            // SAFETY: the verifier saw it to be non-null; the map's memory outlives the program.
            unsafe { (*invocation).first_again |= u64::from((*invocation).first == key) };
        }
        return 0;
    }
    let marked = Marked {
        // SAFETY: takes nothing.
        stamp_ns: unsafe { bpf_ktime_get_ns() },
        confirmed: 0,
        autopsied: 0,
        sender,
        exited: 0,
    };
    if MARKED.insert(key, marked, 0).is_err() {
        count_drop(drops::MARKS_FULL);
    }
    0
}
