//! Writes one [`Autopsy`] into the ring.

use core::mem::offset_of;

use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;
use oom_agent_ebpf::Autopsy;

use super::{
    access::{begin_record, count_full, now_ns},
    maps::RECORDS,
    task::{self, Subject},
};

/// `known` has the bits of how the victim is read. Returns whether the record was written.
#[inline(always)]
pub(super) fn write_autopsy(subject: &Subject, mark_ns: u64, known: u32) -> bool {
    let Some(mut entry) = count_full(RECORDS.reserve::<Autopsy>(0)) else {
        return false;
    };
    let autopsy = begin_record(&mut entry, Autopsy::KIND, offset_of!(Autopsy, levels));
    autopsy.known = known;
    autopsy.tid = subject.tid;
    autopsy.tgid = subject.tgid;
    autopsy.mark_ns = mark_ns;
    autopsy.stamp_ns = now_ns();
    task::examine(subject, autopsy);
    // By itself the kernel wakes the reader only for the first unread record, which may be an environment, written
    // without a wake-up.
    entry.submit(BPF_RB_FORCE_WAKEUP.into());
    true
}
