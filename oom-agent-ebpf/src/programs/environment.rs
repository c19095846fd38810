//! Writes one [`Environment`] into the ring, where the option is set. Otherwise the verifier sees a read-only 0 and
//! removes this code, so that nothing in the kernel reads an environment.

use core::mem::offset_of;

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::generated::bpf_probe_read_user};
use oom_agent_ebpf::{ENVIRONMENT_LEN, Environment};

use super::{
    access::{begin_record, count_full},
    maps::RECORDS,
    offsets as at,
    task::{current, member},
};

/// The most bytes that are read, and a mask.
const MOST: u64 = ENVIRONMENT_LEN as u64 - 1;

const SMALLEST_PAGE: u64 = 4096;

/// Writes the environment of `current`, the victim. To be called before its autopsy, which wakes the reader for both.
#[inline(always)]
pub(super) fn write_environment(tgid: u32, mark_ns: u64) {
    if at::READ_ENVIRONMENT.load() != 1 {
        return;
    }
    let Some(mm) = member::<u64>(current(), &at::TASK_MM) else {
        return;
    };
    let (Some(start), Some(end)) = (
        member::<u64>(mm, &at::MM_ENV_START),
        member::<u64>(mm, &at::MM_ENV_END),
    ) else {
        return;
    };
    let Some(mut entry) = count_full(RECORDS.reserve::<Environment>(0)) else {
        return;
    };
    let size = end.saturating_sub(start);
    let header = offset_of!(Environment, bytes);
    let record = begin_record(&mut entry, Environment::KIND, header);
    record.tgid = tgid;
    record.mark_ns = mark_ns;
    record.size = size.min(u64::from(u32::MAX)) as u32;
    read_environment(start, size, record);
    entry.submit(BPF_RB_NO_WAKEUP.into());
}

/// Without a loop: older verifiers walk through every combination of outcomes.
#[inline(always)]
fn read_environment(start: u64, size: u64, record: &mut Environment) {
    let mut want = size.min(MOST);
    if !copy_bytes(start, want, record) {
        // Some page is not resident: the bytes before the first boundary are in one page.
        want = want.min(SMALLEST_PAGE - (start & (SMALLEST_PAGE - 1)));
        if !copy_bytes(start, want, record) {
            want = 0;
        }
    }
    record.read = want as u32;
}

#[inline(always)]
fn copy_bytes(start: u64, want: u64, record: &mut Environment) -> bool {
    // SAFETY: the size is less than that of `bytes`, and the helper fails on memory that it cannot read.
    let failed = unsafe {
        bpf_probe_read_user(
            record.bytes.as_mut_ptr().cast(),
            // Bounded again: older verifiers lose a bound when the compiler spills its value.
            (core::hint::black_box(want) & MOST) as u32,
            start as *const _,
        )
    };
    failed == 0
}
