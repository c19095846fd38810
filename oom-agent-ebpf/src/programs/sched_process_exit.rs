//! `sched:sched_process_exit`: a marked process exits. From 6.16 on it still has its address space here and can be marked
//! later, so its mark stays until its task is freed.

use aya_ebpf::{EbpfContext, macros::btf_tracepoint, programs::BtfTracePointContext};
use oom_agent_ebpf::{Exit, known};

use super::{
    access::{now_ns, output_record},
    autopsy::write_autopsy,
    marks, offsets as at,
    task::{self, Subject},
};

#[btf_tracepoint(function = "sched_process_exit")]
pub(super) fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let (tid, tgid) = (ctx.pid(), ctx.tgid());
    let process = marks::find_mark(tgid, || marks::leader(task::current()));
    let is_process = process.is_some();
    let Some(marked) = process.or_else(|| marks::find_mark(tid, task::current)) else {
        return 0;
    };
    if marked.exited != 0 {
        return 0;
    }
    let current = task::current();
    // A process exits with its last thread: `signal->live` counts the others.
    let live = task::member::<u64>(current, &at::TASK_SIGNAL)
        .and_then(|signal| task::member::<i32>(signal, &at::SIGNAL_LIVE));
    let is_last = live.is_none_or(|live| live == 0);
    if is_process && !is_last {
        return 0;
    }
    marked.exited = 1;
    // The kernel sent SIGKILL for another reason.
    if marked.confirmed == 0 {
        return 0;
    }
    let mark_ns = marked.stamp_ns;
    // A process that was exiting already takes no signal. Some of it can still be read here.
    if marked.autopsied == 0 {
        let subject = Subject {
            task: current,
            tid,
            tgid,
            own: true,
        };
        write_autopsy(&subject, mark_ns, known::AT_EXIT);
    }
    let record = Exit {
        kind: Exit::KIND,
        tgid,
        mark_ns,
        stamp_ns: now_ns(),
    };
    output_record(&record, 0);
    0
}
