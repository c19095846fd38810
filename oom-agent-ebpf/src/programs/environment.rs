//! Writes one [`Environment`] into the ring, where that was asked for. Otherwise the verifier sees a
//! read-only 0 and takes all of this out: nothing in the kernel reads an environment then.

use core::ptr::addr_of_mut;

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::generated::bpf_probe_read_user};
use oom_agent_ebpf::{ENVIRONMENT_LEN, Environment, drops};

use super::{
    maps::{RECORDS, count_drop},
    offsets as at,
    task::{current, member},
};

/// What is read at most, a mask too.
const MOST: u64 = ENVIRONMENT_LEN as u64 - 1;

/// Of all kernels.
const SMALLEST_PAGE: u64 = 4096;

/// Of `current`, the victim. To be written before its autopsy, which wakes the reader for both.
#[inline(always)]
pub(super) fn write(tgid: u32, mark_ns: u64) {
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
    let Some(mut entry) = RECORDS.reserve::<Environment>(0) else {
        count_drop(drops::RING_FULL);
        return;
    };
    let size = end.saturating_sub(start);
    let record = entry.as_mut_ptr();
    // SAFETY: the entry is as large and as aligned as an Environment. The header is set whole; of
    // the bytes only what `read` says is read by the other side.
    unsafe {
        addr_of_mut!((*record).kind).write(Environment::KIND);
        addr_of_mut!((*record).tgid).write(tgid);
        addr_of_mut!((*record).mark_ns).write(mark_ns);
        addr_of_mut!((*record).size).write(size.min(u64::from(u32::MAX)) as u32);
        addr_of_mut!((*record).read).write(0);
        read(start, size, &mut *record);
    }
    entry.submit(BPF_RB_NO_WAKEUP.into());
}

/// Without a loop: with both outcomes of each read, older verifiers walk through every combination.
#[inline(always)]
fn read(start: u64, size: u64, record: &mut Environment) {
    let mut want = size.min(MOST);
    if !copy(start, want, record) {
        // A page that is not resident: what lies before the first boundary is in one page.
        want = want.min(SMALLEST_PAGE - (start & (SMALLEST_PAGE - 1)));
        if !copy(start, want, record) {
            want = 0;
        }
    }
    record.read = want as u32;
}

#[inline(always)]
fn copy(start: u64, want: u64, record: &mut Environment) -> bool {
    // SAFETY: the size is less than that of `bytes`, and the helper fails on what it cannot read.
    let failed = unsafe {
        bpf_probe_read_user(
            record.bytes.as_mut_ptr().cast(),
            // Said once more: older verifiers forget a bound when the compiler spills its value.
            (core::hint::black_box(want) & MOST) as u32,
            start as *const _,
        )
    };
    failed == 0
}
