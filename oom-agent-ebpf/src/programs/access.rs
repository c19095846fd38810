//! How programs use the maps that they share.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    maps::ring_buf::RingBufEntry,
};
use oom_agent_ebpf::drops;

use super::maps::{DROPS, IN_USE, INVOCATIONS, Invocation, RECORDS};

#[inline(always)]
pub(super) fn in_use(program: u32) -> bool {
    IN_USE.get(0).is_some_and(|bits| *bits & program != 0)
}

pub(super) fn count_drop(index: u32) {
    // Programs do not nest on one CPU.
    if let Some(count) = value(DROPS.get_ptr_mut(index)) {
        *count += 1;
    }
}

/// `CLOCK_MONOTONIC`, in ns.
#[inline(always)]
pub(super) fn now_ns() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// The invocation that the current thread is in; `None` where `out_of_memory` is not probed.
#[inline(always)]
pub(super) fn current_invocation() -> Option<&'static mut Invocation> {
    value(INVOCATIONS.get_ptr_mut(bpf_get_current_pid_tgid()))
}

/// A map's value.
#[inline(always)]
pub(super) fn value<T>(found: Option<*mut T>) -> Option<&'static mut T> {
    // SAFETY: the verifier has checked that it is not null; the map's memory outlives the program.
    found.map(|value| unsafe { &mut *value })
}

/// Counts a record that finds the ring full.
#[inline(always)]
pub(super) fn count_full<T>(entry: Option<RingBufEntry<T>>) -> Option<RingBufEntry<T>> {
    if entry.is_none() {
        count_drop(drops::RING_FULL);
    }
    entry
}

/// Begins a record of this kind, with the first `header` bytes 0. The reader reads only the part of each array after
/// those that its length covers.
#[inline(always)]
pub(super) fn begin_record<T>(entry: &mut RingBufEntry<T>, kind: u32, header: usize) -> &mut T {
    let words = entry.as_mut_ptr().cast::<u64>();
    // SAFETY: a record is of plain bytes, aligned to 8, has at least `header` of them and begins with its kind.
    unsafe {
        words.write_bytes(0, header / size_of::<u64>());
        words.cast::<u32>().write(kind);
        entry.assume_init_mut()
    }
}

/// Writes a small record.
#[inline(always)]
pub(super) fn output_record<T>(record: &T, flags: u64) {
    if RECORDS.output::<T>(record, flags).is_err() {
        count_drop(drops::RING_FULL);
    }
}
