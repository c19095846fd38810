//! `signal:signal_generate`: the kernel itself sends SIGKILL, as its OOM killer does just before it marks a victim. A
//! victim that runs on another CPU takes the signal at once. It needs the lock under which this program runs, so it is
//! remembered before the programs that read it can run.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use oom_agent_ebpf::drops;

use super::{
    access::{count_drop, current_invocation, now_ns},
    maps::{MARKED, Marked},
    marks, offsets as at, task,
};

const SIGKILL: u32 = 9;

/// `SEND_SIG_PRIV` of include/linux/sched/signal.h: the kernel is the sender.
const SEND_SIG_PRIV: u64 = 1;

#[btf_tracepoint(function = "signal_generate")]
pub(super) fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    // Every signal of the machine passes here.
    if ctx.arg::<u64>(0) as u32 != SIGKILL || ctx.arg::<u64>(1) != SEND_SIG_PRIV {
        return 0;
    }
    // When the first process of a PID namespace or a tracer exits, others get the same signal. Any user can cause that
    // for thousands of processes.
    if task::current_is_exiting() {
        return 0;
    }
    // The key by which its mark will be looked up: the victim that is sent the signal is the one that is marked.
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
    if let Some(earlier) = marks::find_mark(key, || holder) {
        // It was sent one before and lives on: it sleeps uninterruptibly, or its group is being killed.
        earlier.sender = sender;
        if earlier.confirmed != 0
            && let Some(invocation) = current_invocation()
        {
            invocation.first_again |= u64::from(invocation.first == key);
        }
        return 0;
    }
    let marked = Marked {
        stamp_ns: now_ns(),
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
