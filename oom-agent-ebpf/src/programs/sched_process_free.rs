//! `sched:sched_process_free`: a task is freed, and its mark with it. No mark can follow: only a process with an address
//! space is chosen, and it gave that back long before.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use super::{maps::MARKED, marks, offsets as at, task};

#[btf_tracepoint(function = "sched_process_free")]
pub(super) fn sched_process_free(ctx: BtfTracePointContext) -> i32 {
    let task: u64 = ctx.arg(0);
    if let Some(number) = task::member::<u32>(task, &at::TASK_PID)
        && marks::find_mark(number, || task).is_some()
    {
        let _gone_already = MARKED.remove(number);
    }
    0
}
