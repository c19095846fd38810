//! Writes one [`Autopsy`] of `current` into the ring.

use core::ptr::addr_of_mut;

use aya_ebpf::{EbpfContext, bindings::BPF_RB_FORCE_WAKEUP, helpers::generated::bpf_ktime_get_ns};
use oom_agent_ebpf::{Autopsy, drops};

use super::{
    maps::{Marked, RECORDS, count_drop},
    task,
};

/// `known` is what is known from the start: [`known::AT_EXIT`](oom_agent_ebpf::known::AT_EXIT) or nothing.
#[inline(always)]
pub(super) fn write<C: EbpfContext>(ctx: &C, marked: &mut Marked, known: u32) {
    // Each thread of the process comes by; the first one speaks for all.
    if marked.autopsied != 0 {
        return;
    }
    marked.autopsied = 1;
    let Some(mut entry) = RECORDS.reserve::<Autopsy>(0) else {
        count_drop(drops::RING_FULL);
        return;
    };
    let autopsy = entry.as_mut_ptr();
    // SAFETY: the entry is as large and as aligned as an Autopsy. The header is set whole;
    // of the arrays only what the lengths say is read by the other side.
    unsafe {
        addr_of_mut!((*autopsy).kind).write(Autopsy::KIND);
        addr_of_mut!((*autopsy).known).write(known);
        addr_of_mut!((*autopsy).tid).write(ctx.pid());
        addr_of_mut!((*autopsy).tgid).write(ctx.tgid());
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
        addr_of_mut!((*autopsy).parent_tgid).write(0);
        addr_of_mut!((*autopsy).levels_used).write(0);
        addr_of_mut!((*autopsy).start_boot_ns).write(0);
        task::examine(task::current(), &mut *autopsy);
    }
    // A mark that woke nobody may lie before it, and the kernel wakes by itself only for the first
    // record that is not read yet.
    entry.submit(BPF_RB_FORCE_WAKEUP.into());
}
