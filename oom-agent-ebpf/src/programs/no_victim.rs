//! An invocation of `out_of_memory` that found no process to kill.

use core::mem::offset_of;

use aya_ebpf::{EbpfContext, macros::map, maps::LruHashMap};
use oom_agent_ebpf::NoVictim;

use super::{
    access::{begin_record, count_full, now_ns, value},
    maps::RECORDS,
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
    let now = now_ns();
    if value(NO_VICTIM.get_ptr_mut(memcg)).is_some_and(|last| now - *last < INTERVAL_NS) {
        return;
    }
    let _always = NO_VICTIM.insert(memcg, now, 0);
    write_record(ctx, memcg, now);
}

#[inline(always)]
fn write_record<C: EbpfContext>(ctx: &C, memcg: u64, stamp_ns: u64) {
    let Some(mut entry) = count_full(RECORDS.reserve::<NoVictim>(0)) else {
        return;
    };
    let header = offset_of!(NoVictim, memcg_names);
    let record = begin_record(&mut entry, NoVictim::KIND, header);
    record.trigger_tgid = ctx.tgid();
    record.stamp_ns = stamp_ns;
    record.limit_pages = task::member(memcg, &at::MEMCG_MEMORY_MAX).unwrap_or(0);
    record.trigger_comm = ctx.command().unwrap_or_default();
    if let Some(names) = task::Names::walk(memcg, &mut record.memcg_names) {
        record.memcg_names_used = names.used;
        record.memcg_names_cut = names.cut;
    }
    entry.submit(0);
}
