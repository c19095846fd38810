//! `signal:signal_deliver`: SIGKILL reaches a marked task. `current` is the victim and its
//! address space is whole: what is read here cannot be raced.

use core::ptr::addr_of_mut;

use aya_ebpf::{
    EbpfContext, helpers::generated::bpf_ktime_get_ns, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use oom_agent_ebpf::{Autopsy, drops};

use super::{
    maps::{MARKED, RECORDS, count_drop},
    task,
};

const SIGKILL: u32 = 9;

#[btf_tracepoint(function = "signal_deliver")]
pub(super) fn signal_deliver(ctx: BtfTracePointContext) -> i32 {
    // Every signal of the machine passes here: leave at once.
    if ctx.arg::<u64>(0) as u32 != SIGKILL {
        return 0;
    }
    let (tid, tgid) = (ctx.pid(), ctx.tgid());
    // The mark may name the process or one of its threads.
    let Some(marked) = MARKED.get_ptr_mut(tgid).or_else(|| MARKED.get_ptr_mut(tid)) else {
        return 0;
    };
    // SAFETY: the verifier saw it to be non-null; the map's memory outlives the program.
    let marked = unsafe { &mut *marked };
    // Each thread of the process is told; the first one speaks for all.
    if marked.autopsied != 0 {
        return 0;
    }
    marked.autopsied = 1;
    let Some(mut entry) = RECORDS.reserve::<Autopsy>(0) else {
        count_drop(drops::RING_FULL);
        return 0;
    };
    let autopsy = entry.as_mut_ptr();
    // SAFETY: the entry is as large and as aligned as an Autopsy. The header is set whole;
    // of the three arrays only what the lengths say is read by the other side.
    unsafe {
        addr_of_mut!((*autopsy).kind).write(Autopsy::KIND);
        addr_of_mut!((*autopsy).known).write(0);
        addr_of_mut!((*autopsy).tid).write(tid);
        addr_of_mut!((*autopsy).tgid).write(tgid);
        addr_of_mut!((*autopsy).mark_ns).write(marked.stamp_ns);
        addr_of_mut!((*autopsy).stamp_ns).write(bpf_ktime_get_ns());
        addr_of_mut!((*autopsy).anon_pages).write(0);
        addr_of_mut!((*autopsy).file_pages).write(0);
        addr_of_mut!((*autopsy).shmem_pages).write(0);
        addr_of_mut!((*autopsy).uid).write(ctx.uid());
        addr_of_mut!((*autopsy).ns_level).write(0);
        addr_of_mut!((*autopsy).ns_tgid).write(0);
        addr_of_mut!((*autopsy).oom_score_adj).write(0);
        addr_of_mut!((*autopsy).cmdline_size).write(0);
        addr_of_mut!((*autopsy).cmdline_read).write(0);
        addr_of_mut!((*autopsy).cgroup_names_used).write(0);
        addr_of_mut!((*autopsy).cgroup_names_cut).write(0);
        task::examine(task::current(), &mut *autopsy);
    }
    entry.submit(0);
    debug!(&ctx, "signal_deliver: tid {} tgid {}", tid, tgid);
    0
}
