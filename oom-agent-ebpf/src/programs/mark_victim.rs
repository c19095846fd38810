//! `oom:mark_victim`, twice: as a BTF tracepoint where the kernel has BTF, else as the classic one.

use aya_ebpf::{
    EbpfContext, Global,
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use aya_log_ebpf::debug;
use oom_agent_ebpf::{Mark, drops};

use super::{
    maps::{MARKED, Marked, RECORDS, count_drop},
    offsets as at, task,
};

/// Offset of `pid` in both layouts of the classic tracepoint, read from its `format` file.
#[unsafe(no_mangle)]
static MARK_VICTIM_PID: Global<u32> = Global::new(8);

/// Argument 0 is `int pid` before 6.9 and its backports, `struct task_struct *` after.
#[btf_tracepoint(function = "mark_victim")]
pub(super) fn mark_victim_btf(ctx: BtfTracePointContext) -> i32 {
    let argument: u64 = ctx.arg(0);
    if at::MARK_VICTIM_HAS_TASK.load() == 1 {
        let tid = task::member(argument, &at::TASK_PID).unwrap_or(0);
        let tgid = task::member(argument, &at::TASK_TGID).unwrap_or(0);
        mark(&ctx, tid, tgid);
    } else {
        mark(&ctx, argument as u32, 0);
    }
    0
}

#[tracepoint(category = "oom", name = "mark_victim")]
pub(super) fn mark_victim(ctx: TracePointContext) -> u32 {
    // SAFETY: within the tracepoint's own record, as its format file says.
    if let Ok(pid) = unsafe { ctx.read_at::<u32>(MARK_VICTIM_PID.load() as usize) } {
        mark(&ctx, pid, 0);
    }
    0
}

#[inline(always)]
fn mark<C: EbpfContext>(ctx: &C, tid: u32, tgid: u32) {
    // SAFETY: takes nothing.
    let stamp_ns = unsafe { bpf_ktime_get_ns() };
    let key = if tgid == 0 { tid } else { tgid };
    let marked = Marked {
        stamp_ns,
        autopsied: 0,
    };
    if MARKED.insert(key, marked, 0).is_err() {
        count_drop(drops::MARKS_FULL);
    }
    let record = Mark {
        kind: Mark::KIND,
        tid,
        tgid,
        trigger_tgid: ctx.tgid(),
        stamp_ns,
        trigger_comm: ctx.command().unwrap_or_default(),
    };
    if RECORDS.output::<Mark>(record, 0).is_err() {
        count_drop(drops::RING_FULL);
    }
    debug!(ctx, "mark_victim: tid {} tgid {}", tid, tgid);
}
