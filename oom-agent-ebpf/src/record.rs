//! What the programs write. Every number is in the unit its field says.

#[cfg(not(target_arch = "bpf"))]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `TASK_COMM_LEN` of the kernel: a process name with its NUL.
pub const COMM_LEN: usize = 16;

/// How many bytes of a command line are kept. The rest is cut, and the cut is visible:
/// [`Autopsy::cmdline_size`] has the whole length.
pub const CMDLINE_LEN: usize = 1024;

/// How many bytes of an environment are read, where it is.
pub const ENVIRONMENT_LEN: usize = 8192;

/// Room for the names of a cgroup and its ancestors, each with its NUL.
pub const CGROUP_NAMES_LEN: usize = 2048;

/// How many levels of a cgroup path are walked: systemd, kind and docker nested are at 12.
pub const LEVELS: usize = 24;

/// Of one invocation so many victims are read, and the first processes of PID namespaces: more are only
/// counted, so that the ring has room for those.
pub const LISTED: u32 = 256;

/// In [`Level::oom_group`]: this kernel has no such member.
pub const GROUP_UNKNOWN: u64 = 2;

/// In place of a member's offset: this kernel has no such member.
pub const UNKNOWN_OFFSET: u32 = u32::MAX;

/// Where `pid` is in the record of the classic tracepoint `oom:mark_victim`, in both layouts that
/// there are; kernels whose records have a `common_preempt_lazy_count` have it further on.
pub const CLASSIC_PID_OFFSET: u32 = 8;

/// `oom:mark_victim`: the kernel has chosen a victim. Written in the context of the
/// task whose allocation set the OOM killer off, the *trigger*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "bpf"),
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct Mark {
    /// [`Mark::KIND`].
    pub kind: u32,
    /// `task->pid` of the victim: a thread, not always the group's leader.
    pub tid: u32,
    /// `task->tgid` of the victim; 0 where the tracepoint tells the tid only.
    pub tgid: u32,
    /// tgid of the trigger.
    pub trigger_tgid: u32,
    /// `CLOCK_MONOTONIC`, in ns: when SIGKILL was sent, which comes just before, or else the mark.
    pub stamp_ns: u64,
    /// When `out_of_memory` was entered, on the same clock; 0 where no probe saw it.
    /// All kills of one invocation have the same.
    pub invocation_ns: u64,
    /// `oom_control.totalpages`: the limit with swap, or the node's memory, in pages.
    pub total_pages: u64,
    /// `mem_cgroup.memory.max` of the cgroup whose limit it was, in pages.
    pub limit_pages: u64,
    /// Name of the trigger's thread.
    pub trigger_comm: [u8; COMM_LEN],
    /// What was seen of this invocation, and which of the fields that follow could be read: the
    /// bits of [`invoked`].
    pub invoked: u32,
    /// `oom_control.gfp_mask`.
    pub gfp_mask: u32,
    /// `oom_control.order`; −1 is a sysrq's.
    pub order: i32,
    /// `oom_control.constraint`, an `enum oom_constraint`.
    pub constraint: u32,
    /// How many bytes of `memcg_names` are in use.
    pub memcg_names_used: u32,
    /// Set when an ancestor's name did not fit.
    pub memcg_names_cut: u32,
    /// Names of `oom_control.memcg` and its ancestors, as [`Autopsy::cgroup_names`].
    pub memcg_names: [u8; CGROUP_NAMES_LEN],
}

/// `signal:signal_deliver` of SIGKILL to a marked task: the victim as it was the moment
/// before it died, read in its own context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "bpf"),
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct Autopsy {
    /// [`Autopsy::KIND`].
    pub kind: u32,
    /// Which of the fields below could be read: the bits of [`known`].
    pub known: u32,
    /// The thread the signal reached first.
    pub tid: u32,
    /// The victim.
    pub tgid: u32,
    /// [`Mark::stamp_ns`] of the mark this belongs to.
    pub mark_ns: u64,
    /// `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
    /// Resident anonymous, file and shared pages, in pages.
    pub anon_pages: i64,
    /// Resident file pages, in pages.
    pub file_pages: i64,
    /// Resident shared pages, in pages.
    pub shmem_pages: i64,
    /// Real user id, in the initial user namespace.
    pub uid: u32,
    /// Depth of the victim's PID namespace; 0 is the host's.
    pub ns_level: u32,
    /// The victim's process id in its own PID namespace.
    pub ns_tgid: u32,
    /// `signal->oom_score_adj`, −1000 to 1000.
    pub oom_score_adj: i32,
    /// Length of the command line, in bytes; more than [`CMDLINE_LEN`] when it was cut.
    pub cmdline_size: u32,
    /// How many bytes of `cmdline` were read.
    pub cmdline_read: u32,
    /// How many bytes of `cgroup_names` are in use.
    pub cgroup_names_used: u32,
    /// Set when an ancestor's name did not fit.
    pub cgroup_names_cut: u32,
    /// tgid of the parent.
    pub parent_tgid: u32,
    /// How many of `levels` are in use.
    pub levels_used: u32,
    /// `task->start_boottime`: `CLOCK_BOOTTIME`, in ns.
    pub start_boot_ns: u64,
    /// How many levels above the victim's memory cgroup the nearest one is that its parent is in, too.
    pub parent_above: u32,
    /// The same of the first process of its PID namespace.
    pub reaper_above: u32,
    /// The victim's memory cgroup and its ancestors, leaf first.
    pub levels: [Level; LEVELS],
    /// `comm` of the thread group's leader.
    pub comm: [u8; COMM_LEN],
    /// The arguments, each with its NUL.
    pub cmdline: [u8; CMDLINE_LEN],
    /// Names of the memory cgroup and its ancestors, leaf first, each with its NUL;
    /// the root has none.
    pub cgroup_names: [u8; CGROUP_NAMES_LEN],
}

/// What a memory cgroup used and might use at most, when its process was killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "bpf"),
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct Level {
    /// `mem_cgroup.memory.usage`, in pages.
    pub usage_pages: u64,
    /// `mem_cgroup.memory.max`, in pages; `i64::MAX` over the page size where there is none.
    pub max_pages: u64,
    /// `mem_cgroup.memory.watermark`: the most that was ever used, in pages; 0 where it cannot be read.
    pub peak_pages: u64,
    /// `mem_cgroup.oom_group`, or [`GROUP_UNKNOWN`].
    pub oom_group: u64,
}

/// A victim's environment, read in its own context where the agent is told to: comes before its
/// autopsy. Holds secrets, so `Debug` leaves the bytes out.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "bpf"),
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct Environment {
    /// [`Environment::KIND`].
    pub kind: u32,
    /// The victim.
    pub tgid: u32,
    /// [`Mark::stamp_ns`] of the mark this belongs to.
    pub mark_ns: u64,
    /// Length of the environment, in bytes; more than [`ENVIRONMENT_LEN`] when it was cut.
    pub size: u32,
    /// How many bytes were read.
    pub read: u32,
    /// `NAME=value`, each with its NUL.
    pub bytes: [u8; ENVIRONMENT_LEN],
}

/// `sched:sched_process_exit` of the last thread of a marked process: its address space
/// is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "bpf"),
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct Exit {
    /// [`Exit::KIND`].
    pub kind: u32,
    /// The victim.
    pub tgid: u32,
    /// [`Mark::stamp_ns`] of the mark this belongs to.
    pub mark_ns: u64,
    /// `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
}

/// `out_of_memory` has returned: no more victims of this invocation are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "bpf"),
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct InvocationEnd {
    /// [`InvocationEnd::KIND`].
    pub kind: u32,
    /// How many processes it has marked; more than none.
    pub marks: u32,
    /// [`Mark::invocation_ns`] of those.
    pub invocation_ns: u64,
    /// 1 where the first of them was sent SIGKILL once more, as the kernel does when it kills the
    /// group of its first victim: it counts that one twice.
    pub first_again: u32,
    /// Unused.
    pub pad: u32,
}

/// Indexes in the `DROPS` map.
pub mod drops {
    /// A record found the ring full.
    pub const RING_FULL: u32 = 0;
    /// A victim found no room in the map of marks, so it has no autopsy.
    pub const MARKS_FULL: u32 = 1;
}

/// Bits of the `IN_USE` map's only value: which programs are attached. The others rely on them.
pub mod in_use {
    /// `sched_process_free`: marks end with their tasks, so they may be remembered.
    pub const FREE: u32 = 1;
    /// `signal_generate`: what is marked without having been sent SIGKILL was exiting already.
    pub const SENT: u32 = 1 << 1;
    /// The program on the return of `out_of_memory`.
    pub const RETURN: u32 = 1 << 2;
}

/// Bits of [`Mark::invoked`].
pub mod invoked {
    /// The `oom_control` was seen: `total_pages`, `gfp_mask`, `order` and `constraint`.
    pub const CONTROL: u32 = 1;
    /// `oom_control.memcg` was null: it was the node's memory, or a part of it.
    pub const NODE: u32 = 1 << 1;
    /// `memcg_names`.
    pub const MEMCG: u32 = 1 << 2;
    /// `limit_pages`.
    pub const LIMIT: u32 = 1 << 3;
    /// The same thread had just sent the victim SIGKILL: it was killed.
    pub const KILLED: u32 = 1 << 4;
    /// No SIGKILL came before the mark, which only lets it use the memory reserves: the victim was
    /// on its way out already (`task_will_free_mem` in the kernel's `mm/oom_kill.c`).
    pub const EXITING: u32 = 1 << 5;
    /// An autopsy of it is being written at this moment.
    pub const EXAMINED: u32 = 1 << 6;
    /// An [`InvocationEnd`](crate::InvocationEnd) follows once all of the invocation's are marked.
    pub const END_FOLLOWS: u32 = 1 << 7;
    /// It is one of a group of which [`LISTED`](crate::LISTED) are read already: it is only counted.
    pub const COUNTED: u32 = 1 << 8;
}

/// Bits of [`Autopsy::known`].
pub mod known {
    /// `anon_pages`, `file_pages` and `shmem_pages`.
    pub const RSS: u32 = 1;
    /// `ns_level` and `ns_tgid`.
    pub const NS_TGID: u32 = 1 << 1;
    /// `oom_score_adj`.
    pub const OOM_SCORE_ADJ: u32 = 1 << 2;
    /// `cmdline_size`, `cmdline_read` and `cmdline`.
    pub const CMDLINE: u32 = 1 << 3;
    /// `cgroup_names`.
    pub const CGROUP: u32 = 1 << 4;
    /// `comm`.
    pub const COMM: u32 = 1 << 5;
    /// It was read at the victim's exit: its signal came before its mark.
    pub const AT_EXIT: u32 = 1 << 6;
    /// `parent_tgid`.
    pub const PARENT: u32 = 1 << 7;
    /// `start_boot_ns`.
    pub const START: u32 = 1 << 8;
    /// `levels`.
    pub const LEVELS: u32 = 1 << 9;
    /// `uid`.
    pub const UID: u32 = 1 << 10;
    /// It was read when it was marked, by the trigger: all but the command line. Another follows.
    pub const FROM_OUTSIDE: u32 = 1 << 11;
    /// The kernel had sent SIGKILL and not marked yet: a mark with the same stamp makes it a kill.
    pub const UNCONFIRMED: u32 = 1 << 12;
    /// `parent_above`.
    pub const PARENT_CGROUP: u32 = 1 << 13;
    /// `reaper_above`.
    pub const REAPER_CGROUP: u32 = 1 << 14;
}

// === impl Mark ===

impl Mark {
    /// The first word of a mark.
    pub const KIND: u32 = 1;
}

// === impl Autopsy ===

impl Autopsy {
    /// The first word of an autopsy.
    pub const KIND: u32 = 2;
}

// === impl Exit ===

impl Exit {
    /// The first word of an exit.
    pub const KIND: u32 = 3;
}

// === impl InvocationEnd ===

impl InvocationEnd {
    /// The first word of an invocation's end.
    pub const KIND: u32 = 5;
}

// === impl Environment ===

impl Environment {
    /// The first word of an environment.
    pub const KIND: u32 = 4;
}

impl core::fmt::Debug for Environment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Environment")
            .field("tgid", &self.tgid)
            .field("mark_ns", &self.mark_ns)
            .field("size", &self.size)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

/// How many records of kills that are not told yet are kept where maps are pinned.
pub const KEPT_RECORDS: u32 = 256;

/// Room for one of them, in bytes: an [`Autopsy`] is the largest.
pub const KEPT_LEN: usize = size_of::<Autopsy>();

// The ring is read by another program than the one that wrote it: a layout that moves must not compile.
const _: () = assert!(size_of::<Mark>() == 88 + CGROUP_NAMES_LEN);
const _: () =
    assert!(size_of::<Autopsy>() == 112 + LEVELS * 32 + COMM_LEN + CMDLINE_LEN + CGROUP_NAMES_LEN);
const _: () = assert!(size_of::<Exit>() == 24);
const _: () = assert!(size_of::<InvocationEnd>() == 24);
const _: () = assert!(size_of::<Mark>() <= KEPT_LEN);
const _: () = assert!(size_of::<Environment>() == 24 + ENVIRONMENT_LEN);
const _: () = assert!(align_of::<Autopsy>() == 8 && align_of::<Mark>() == 8);
