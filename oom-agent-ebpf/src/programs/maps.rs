//! The maps that programs share: with the records the layout that outlives an agent.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use oom_agent_ebpf::{KEPT_LEN, KEPT_RECORDS};

/// A marked victim, until its task is freed.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Marked {
    /// When it was sent SIGKILL or marked, the earlier of both: `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
    /// 1 once the kernel has marked it; before, it was only sent SIGKILL by the kernel.
    pub confirmed: u32,
    /// 1 once its autopsy is written.
    pub autopsied: u32,
    /// pid_tgid of the last sender of SIGKILL; 0 where no program saw one.
    pub sender: u64,
    /// 1 once its last thread has passed `sched_process_exit`.
    pub exited: u64,
}

/// Records for the agent, which makes the ring larger. A mark and an autopsy take 6 KiB.
#[map]
pub(super) static RECORDS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Victims whose tasks are not freed yet, by tgid where the tracepoint has it, else by tid. The oldest make room, as a
/// victim that is not reaped stays. The agent adds the entries that the kernel reserves for each CPU to the size.
#[map]
pub(super) static MARKED: LruHashMap<u32, Marked> = LruHashMap::with_max_entries(4096, 0);

/// An invocation of `out_of_memory` that has not returned.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Invocation {
    /// When it was entered, `CLOCK_MONOTONIC`, in ns.
    pub(super) entered_ns: u64,
    /// Its `struct oom_control *`, valid until it returns.
    pub(super) control: u64,
    /// How many victims are marked so far.
    pub(super) marks: u32,
    /// The first victim's key in [`MARKED`].
    pub(super) first: u32,
    /// 1 once the first victim was sent SIGKILL again.
    pub(super) first_again: u64,
}

/// Invocations by pid_tgid. `out_of_memory` runs under a lock, so there are few at a time. An entry is removed at the
/// return, and overwritten when its thread enters again, before any mark of that thread.
#[map]
pub(super) static INVOCATIONS: LruHashMap<u64, Invocation> = LruHashMap::with_max_entries(128, 0);

/// Counts of lost records, by the indexes of [`drops`](oom_agent_ebpf::drops).
#[map]
pub(super) static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// Which programs are attached, by the bits of [`in_use`](oom_agent_ebpf::in_use): the others have to work without a
/// program that this kernel refuses. The agent sets it before the program of marks is attached.
#[map]
pub(super) static IN_USE: Array<u32> = Array::with_max_entries(1, 0);

/// Records of unsettled kills, by the stamp of the mark and the part of the kill. Only the agent uses this map and
/// [`REPORTED`]: pinned maps outlive it, even if it is killed. All entries are allocated at once, as memory is short at a
/// kill.
#[map]
pub(super) static UNREPORTED: HashMap<[u64; 2], [u8; KEPT_LEN]> =
    HashMap::with_max_entries(KEPT_RECORDS, 0);

/// Kills whose lines were written lately, by the stamp of the mark.
#[map]
pub(super) static REPORTED: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1024, 0);
