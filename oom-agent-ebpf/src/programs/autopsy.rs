//! Writes one [`Autopsy`] into the ring.

use core::ptr::addr_of_mut;

use aya_ebpf::{bindings::BPF_RB_FORCE_WAKEUP, helpers::generated::bpf_ktime_get_ns};
use oom_agent_ebpf::{Autopsy, drops};

use super::{
    maps::{RECORDS, count_drop},
    task::{self, Subject},
};

/// `known` has the bits of how the victim is read. Returns whether the record was written.
#[inline(always)]
pub(super) fn write_autopsy(subject: &Subject, mark_ns: u64, known: u32) -> bool {
    let Some(mut entry) = RECORDS.reserve::<Autopsy>(0) else {
        count_drop(drops::RING_FULL);
        return false;
    };
    let autopsy = entry.as_mut_ptr();
    // SAFETY: the entry has the size and alignment of an Autopsy. All of the header is set; the reader reads only the
    // part of each array that its length covers.
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
    // By itself the kernel wakes the reader only for the first unread record, which may be an environment, written
    // without a wake-up.
    entry.submit(BPF_RB_FORCE_WAKEUP.into());
    true
}
