//! Writes one [`Autopsy`] into the ring.

use core::ptr::addr_of_mut;

use aya_ebpf::{bindings::BPF_RB_FORCE_WAKEUP, helpers::generated::bpf_ktime_get_ns};
use oom_agent_ebpf::{Autopsy, drops};

use super::{
    maps::{RECORDS, count_drop},
    task::{self, Subject},
};

/// `known` is what is known from the start: how it was read. Gives whether it was written.
#[inline(always)]
pub(super) fn write(subject: &Subject, mark_ns: u64, known: u32) -> bool {
    let Some(mut entry) = RECORDS.reserve::<Autopsy>(0) else {
        count_drop(drops::RING_FULL);
        return false;
    };
    let autopsy = entry.as_mut_ptr();
    // SAFETY: the entry is as large and as aligned as an Autopsy. The header is set whole;
    // of the arrays only what the lengths say is read by the other side.
    unsafe {
        addr_of_mut!((*autopsy).kind).write(Autopsy::KIND);
        addr_of_mut!((*autopsy).known).write(known);
        addr_of_mut!((*autopsy).tid).write(subject.tid);
        addr_of_mut!((*autopsy).tgid).write(subject.tgid);
        addr_of_mut!((*autopsy).mark_ns).write(mark_ns);
        addr_of_mut!((*autopsy).stamp_ns).write(bpf_ktime_get_ns());
        addr_of_mut!((*autopsy).anon_pages).write(0);
        addr_of_mut!((*autopsy).file_pages).write(0);
        addr_of_mut!((*autopsy).shmem_pages).write(0);
        addr_of_mut!((*autopsy).uid).write(0);
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
        addr_of_mut!((*autopsy).parent_above).write(0);
        addr_of_mut!((*autopsy).reaper_above).write(0);
        task::examine(subject, &mut *autopsy);
    }
    // The kernel wakes by itself only for the first record that is not read yet; an environment, which
    // wakes nobody, may lie before it.
    entry.submit(BPF_RB_FORCE_WAKEUP.into());
    true
}
