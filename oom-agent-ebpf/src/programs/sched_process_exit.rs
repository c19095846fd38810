//! `sched:sched_process_exit`: a marked process ends. Its mark goes with it, so that a
//! process that gets the same pid later is not taken for the victim.

use aya_ebpf::{
    EbpfContext, helpers::generated::bpf_ktime_get_ns, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use oom_agent_ebpf::{Exit, drops, known};

use super::{
    autopsy,
    maps::{MARKED, RECORDS, count_drop},
    offsets as at,
    task::{self, Subject},
};

#[btf_tracepoint(function = "sched_process_exit")]
pub(super) fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let (tid, tgid) = (ctx.pid(), ctx.tgid());
    let mut key = tgid;
    let mut marked = MARKED.get_ptr_mut(tgid);
    if marked.is_none() && tid != tgid {
        key = tid;
        marked = MARKED.get_ptr_mut(tid);
    }
    let Some(marked) = marked else {
        return 0;
    };
    // A process ends with its last thread: `signal->live` counts those left.
    let live = task::member::<u64>(task::current(), &at::TASK_SIGNAL)
        .and_then(|signal| task::member::<i32>(signal, &at::SIGNAL_LIVE));
    let last = live.is_none_or(|live| live == 0);
    if key == tgid && !last {
        return 0;
    }
    // SAFETY: the verifier saw it to be non-null; the map's memory outlives the program.
    let marked = unsafe { &mut *marked };
    let (confirmed, mark_ns) = (marked.confirmed != 0, marked.stamp_ns);
    // A process that was exiting already takes no signal: what is left of it is still here.
    if confirmed && marked.autopsied == 0 {
        let subject = Subject {
            task: task::current(),
            tid,
            tgid,
            own: true,
        };
        autopsy::write(&subject, mark_ns, known::AT_EXIT);
    }
    let _gone_already = MARKED.remove(key);
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
