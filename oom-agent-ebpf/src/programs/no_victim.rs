//! An invocation of `out_of_memory` that found no process to kill.

use core::ptr::addr_of_mut;

use aya_ebpf::{EbpfContext, helpers::generated::bpf_ktime_get_ns, macros::map, maps::LruHashMap};
use oom_agent_ebpf::{NoVictim, drops};

use super::{
    maps::{RECORDS, count_drop},
    offsets as at, task,
};

/// The least time between two records of a cgroup, which can enter `out_of_memory` thousands of times a second.
const INTERVAL_NS: u64 = 10_000_000_000;

/// When the last record was written, by `struct mem_cgroup *`.
#[map]
static NO_VICTIM: LruHashMap<u64, u64> = LruHashMap::with_max_entries(128, 0);

/// Handles the return of an invocation without a mark. `returned` is the return value of `out_of_memory`: a `bool` in the
/// lowest byte, true while an earlier victim is still dying. The other bytes have any value.
#[inline(always)]
pub(super) fn write_no_victim<C: EbpfContext>(ctx: &C, control: u64, returned: u64) {
    if returned & 0xff != 0 {
        return;
    }
    let Some(memcg) = task::member::<u64>(control, &at::OC_MEMCG).filter(|memcg| *memcg != 0)
    else {
        return;
    };
    // SAFETY: takes nothing.
    let now = unsafe { bpf_ktime_get_ns() };
    if let Some(last) = NO_VICTIM.get_ptr(memcg)
        // SAFETY: the verifier has checked that it is not null; the map's memory outlives the program.
        && now - unsafe { *last } < INTERVAL_NS
    {
        return;
    }
    let _always = NO_VICTIM.insert(memcg, now, 0);
    write_record(ctx, memcg, now);
}

#[inline(always)]
fn write_record<C: EbpfContext>(ctx: &C, memcg: u64, stamp_ns: u64) {
    let Some(mut entry) = RECORDS.reserve::<NoVictim>(0) else {
        count_drop(drops::RING_FULL);
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the entry has the size and alignment of a NoVictim. All is set except the names, of which the reader reads
    // only the bytes that `memcg_names_used` covers.
    unsafe {
        addr_of_mut!((*record).kind).write(NoVictim::KIND);
        addr_of_mut!((*record).trigger_tgid).write(ctx.tgid());
        addr_of_mut!((*record).stamp_ns).write(stamp_ns);
        let limit_pages = task::member(memcg, &at::MEMCG_MEMORY_MAX).unwrap_or(0);
        addr_of_mut!((*record).limit_pages).write(limit_pages);
        addr_of_mut!((*record).trigger_comm).write(ctx.command().unwrap_or_default());
        addr_of_mut!((*record).memcg_names_used).write(0);
        addr_of_mut!((*record).memcg_names_cut).write(0);
        if let Some(names) = task::Names::walk(memcg, &mut (*record).memcg_names) {
            (*record).memcg_names_used = names.used;
            (*record).memcg_names_cut = names.cut;
        }
    }
    entry.submit(0);
}
