//! The maps, and what is counted in them.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use oom_agent_ebpf::{KEPT_LEN, KEPT_RECORDS};

/// What is remembered of a marked victim until its task is freed.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Marked {
    /// When it was sent SIGKILL or marked, whichever was seen first: `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
    /// 1 once the kernel has marked it; before that it was only sent SIGKILL by the kernel.
    pub confirmed: u32,
    /// 1 once its autopsy is written.
    pub autopsied: u32,
    /// pid_tgid of who sent SIGKILL last; 0 where none was seen.
    pub sender: u64,
    /// 1 once its last thread has gone through `sched_process_exit`.
    pub exited: u64,
}

/// Records on their way to the agent. A mark and an autopsy take 6 KiB. The agent makes it larger.
#[map]
pub(super) static RECORDS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Victims whose tasks are not freed yet, by tgid where the tracepoint has it, else by tid. A victim
/// that nobody reaps stays: the oldest make room. The agent adds to the size what the kernel keeps
/// aside for each CPU.
#[map]
pub(super) static MARKED: LruHashMap<u32, Marked> = LruHashMap::with_max_entries(4096, 0);

/// Who is in `out_of_memory` now.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Invocation {
    /// When it was entered, `CLOCK_MONOTONIC`, in ns.
    pub(super) entered_ns: u64,
    /// Its `struct oom_control *`, valid until it returns.
    pub(super) control: u64,
    /// How many it has marked so far.
    pub(super) marks: u32,
    /// The first of them, by its key in [`MARKED`].
    pub(super) first: u32,
    /// 1 once that one was sent SIGKILL again.
    pub(super) first_again: u64,
}

/// By pid_tgid. `out_of_memory` runs under one lock, so few are here at a time; an entry is removed
/// when it returns, and overwritten when its thread enters again, which comes before any mark of that
/// thread's.
#[map]
pub(super) static INVOCATIONS: LruHashMap<u64, Invocation> = LruHashMap::with_max_entries(128, 0);

/// What found no room, by the indexes of [`drops`](oom_agent_ebpf::drops).
#[map]
pub(super) static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// Which programs are attached, by the bits of [`in_use`](oom_agent_ebpf::in_use). Set by the agent
/// before marks are looked for: a program that this kernel refuses must not cost the others.
#[map]
pub(super) static IN_USE: Array<u32> = Array::with_max_entries(1, 0);

/// Records of kills that are not told yet, by the stamp of the mark and which part it is. Only the
/// agent uses it and [`TOLD`]: where maps are pinned they outlive it, a SIGKILL too. Not allocated
/// when needed, as memory is short then.
#[map]
pub(super) static UNTOLD: HashMap<[u64; 2], [u8; KEPT_LEN]> =
    HashMap::with_max_entries(KEPT_RECORDS, 0);

/// Kills that were told lately, by the stamp of the mark.
#[map]
pub(super) static TOLD: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1024, 0);

#[inline(always)]
pub(super) fn in_use(program: u32) -> bool {
    IN_USE.get(0).is_some_and(|bits| *bits & program != 0)
}

pub(super) fn count_drop(index: u32) {
    if let Some(count) = DROPS.get_ptr_mut(index) {
        // SAFETY: a per-CPU slot that the verifier saw to be non-null; programs do not nest on one CPU.
        unsafe { *count += 1 };
    }
}
