//! `sched:sched_process_exit`: a marked process ends. From 6.16 on it still has its address space here,
//! and can be chosen and marked later than this: its mark stays until its task is freed.

use aya_ebpf::{
    EbpfContext, helpers::generated::bpf_ktime_get_ns, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use oom_agent_ebpf::{Exit, drops, known};

use super::{
    autopsy,
    maps::{RECORDS, count_drop},
    marks, offsets as at,
    task::{self, Subject},
};

#[btf_tracepoint(function = "sched_process_exit")]
pub(super) fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let (tid, tgid) = (ctx.pid(), ctx.tgid());
    let process = marks::of(tgid, || marks::leader(task::current()));
    let of_process = process.is_some();
    let Some(marked) = process.or_else(|| marks::of(tid, task::current)) else {
        return 0;
    };
    if marked.exited != 0 {
        return 0;
    }
    let current = task::current();
    // A process ends with its last thread: `signal->live` counts those left.
    let live = task::member::<u64>(current, &at::TASK_SIGNAL)
        .and_then(|signal| task::member::<i32>(signal, &at::SIGNAL_LIVE));
    let last = live.is_none_or(|live| live == 0);
    if of_process && !last {
        return 0;
    }
    marked.exited = 1;
    let (confirmed, mark_ns) = (marked.confirmed != 0, marked.stamp_ns);
    // A process that was exiting already takes no signal: what is left of it is still here.
    if confirmed && marked.autopsied == 0 {
        let subject = Subject {
            task: current,
            tid,
            tgid,
            own: true,
        };
        autopsy::write(&subject, mark_ns, known::AT_EXIT);
    }
    // The kernel kills for other reasons too: that is nobody's incident.
    if !confirmed {
        return 0;
    }
    let record = Exit {
        kind: Exit::KIND,
        tgid,
        mark_ns,
        // SAFETY: takes nothing.
        stamp_ns: unsafe { bpf_ktime_get_ns() },
    };
    if RECORDS.output::<Exit>(record, 0).is_err() {
        count_drop(drops::RING_FULL);
    }
    0
}
