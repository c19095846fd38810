//! `oom:mark_victim` as a BTF tracepoint, and as the classic one for kernels without BTF.

use core::mem::offset_of;

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_RB_FORCE_WAKEUP,
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use aya_log_ebpf::debug;
use oom_agent_ebpf::{LISTED, Mark, drops, in_use, invoked, known};

use super::{
    access::{begin_record, count_drop, count_full, current_invocation, in_use, now_ns},
    autopsy::write_autopsy,
    environment::write_environment,
    maps::{Invocation, MARKED, Marked, RECORDS},
    marks, offsets as at,
    task::{self, Subject},
};

/// Argument 0 is `int pid` before 6.9 and its backports, `struct task_struct *` after.
#[btf_tracepoint(function = "mark_victim")]
pub(super) fn mark_victim_btf(ctx: BtfTracePointContext) -> i32 {
    let argument: u64 = ctx.arg(0);
    if at::MARK_VICTIM_HAS_TASK.load() == 1 {
        let tid = task::member(argument, &at::TASK_PID).unwrap_or(0);
        let tgid = task::member(argument, &at::TASK_TGID).unwrap_or(0);
        mark(&ctx, argument, tid, tgid);
    } else {
        mark(&ctx, 0, argument as u32, 0);
    }
    0
}

#[tracepoint(category = "oom", name = "mark_victim")]
pub(super) fn mark_victim(ctx: TracePointContext) -> u32 {
    // SAFETY: the offset is within the tracepoint's own record.
    if let Ok(pid) = unsafe { ctx.read_at::<u32>(at::CLASSIC_PID.load() as usize) } {
        write_mark(&ctx, pid, 0, now_ns(), 0);
    }
    0
}

/// Writes the mark, remembers the victim for the other programs, and reads it. `victim` is its `task_struct`, or 0.
#[inline(always)]
fn mark<C: EbpfContext>(ctx: &C, victim: u64, tid: u32, tgid: u32) {
    // Mostly the trigger is the victim. Then this is the victim's own context already: there is no need to wait for its
    // signal, which comes after the kernel's whole report.
    let own = tgid == ctx.tgid() || (tgid == 0 && (tid == ctx.pid() || tid == ctx.tgid()));
    let key = if tgid == 0 { tid } else { tgid };
    let process = if own { task::current() } else { victim };
    // A mark that names a thread has that thread's number as its key.
    let holder = if tgid == 0 && tid != ctx.tgid() {
        process
    } else {
        marks::leader(process)
    };
    let mut stamp_ns = now_ns();
    let mut sender = 0;
    let mut sent = marks::find_mark(key, || holder);
    if let Some(sent) = &mut sent {
        // Another thread of the process was marked before.
        if sent.confirmed != 0 {
            return;
        }
        stamp_ns = sent.stamp_ns;
        sender = sent.sender;
    }
    let counted = count_mark(key) > LISTED && process != 0 && !task::is_reaper(process);
    let autopsied = u32::from(own | counted);
    if let Some(sent) = &mut sent {
        sent.autopsied |= autopsied;
    }
    let choice = if sender == bpf_get_current_pid_tgid() {
        invoked::KILLED
    } else if in_use(in_use::SENT) && (own || !task::current_is_exiting()) {
        invoked::EXITING
    } else {
        0
    };
    let examined = if counted {
        invoked::COUNTED
    } else if own || victim != 0 {
        invoked::EXAMINED
    } else {
        0
    };
    // Wakes the reader at once, which takes as long as writing the autopsy.
    write_mark(ctx, tid, tgid, stamp_ns, choice | examined);
    // Only now, so that the mark is the victim's first record in the ring.
    if let Some(sent) = sent {
        sent.confirmed = 1;
    } else if in_use(in_use::FREE) {
        let marked = Marked {
            stamp_ns,
            confirmed: 1,
            autopsied,
            sender: 0,
            exited: 0,
        };
        if MARKED.insert(key, marked, 0).is_err() {
            count_drop(drops::MARKS_FULL);
        }
    }
    if counted {
        return;
    }
    let subject = Subject {
        task: process,
        tid,
        tgid: if own { ctx.tgid() } else { tgid },
        own,
    };
    if own {
        write_environment(subject.tgid, stamp_ns);
        write_autopsy(&subject, stamp_ns, 0);
    } else if victim != 0 {
        // All but the command line, in case its signal is late: that of a throttled victim can take seconds.
        write_autopsy(&subject, stamp_ns, known::FROM_OUTSIDE);
    }
    debug!(ctx, "mark_victim: tid {} tgid {}", tid, tgid);
}

/// Counts a mark of this invocation and returns the number of marks; 0 where `out_of_memory` is not probed.
#[inline(always)]
fn count_mark(key: u32) -> u32 {
    let Some(invocation) = current_invocation() else {
        return 0;
    };
    if invocation.marks == 0 {
        invocation.first = key;
    }
    invocation.marks += 1;
    invocation.marks
}

#[inline(always)]
fn write_mark<C: EbpfContext>(ctx: &C, tid: u32, tgid: u32, stamp_ns: u64, choice: u32) {
    let Some(mut entry) = count_full(RECORDS.reserve::<Mark>(0)) else {
        return;
    };
    let record = begin_record(&mut entry, Mark::KIND, offset_of!(Mark, memcg_names));
    record.tid = tid;
    record.tgid = tgid;
    record.trigger_tgid = ctx.tgid();
    record.stamp_ns = stamp_ns;
    record.trigger_comm = ctx.command().unwrap_or_default();
    record.invoked = choice;
    read_invocation(record);
    entry.submit(BPF_RB_FORCE_WAKEUP.into());
}

/// Reads the `oom_control` of the invocation of `out_of_memory` that this runs in.
#[inline(always)]
fn read_invocation(record: &mut Mark) {
    let Some(&mut Invocation {
        entered_ns,
        control,
        ..
    }) = current_invocation()
    else {
        return;
    };
    let (Some(total_pages), Some(gfp_mask), Some(order), Some(constraint), Some(memcg)) = (
        task::member(control, &at::OC_TOTALPAGES),
        task::member(control, &at::OC_GFP_MASK),
        task::member(control, &at::OC_ORDER),
        task::member(control, &at::OC_CONSTRAINT),
        task::member::<u64>(control, &at::OC_MEMCG),
    ) else {
        return;
    };
    record.invocation_ns = entered_ns;
    record.total_pages = total_pages;
    record.gfp_mask = gfp_mask;
    record.order = order;
    record.constraint = constraint;
    record.invoked |= invoked::CONTROL;
    if in_use(in_use::RETURN) {
        record.invoked |= invoked::END_FOLLOWS;
    }
    if memcg == 0 {
        record.invoked |= invoked::NODE;
        return;
    }
    if let Some(limit_pages) = task::member(memcg, &at::MEMCG_MEMORY_MAX) {
        record.limit_pages = limit_pages;
        record.invoked |= invoked::LIMIT;
    }
    if let Some(names) = task::Names::walk(memcg, &mut record.memcg_names) {
        record.memcg_names_used = names.used;
        record.memcg_names_cut = names.cut;
        record.invoked |= invoked::MEMCG;
    }
}
