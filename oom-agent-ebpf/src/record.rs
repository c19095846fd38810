//! The records of kills. Comments and blank lines are no part of the layout that `build.rs` of oom-capture hashes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

records! {
    /// A victim was chosen.
    Mark = 1,
    /// A victim was read.
    Autopsy = 2,
    /// A victim has exited.
    Exit = 3,
    /// A victim's environment, where the option is set.
    Environment = 4,
    /// `out_of_memory` has returned: no more victims of this invocation are marked.
    InvocationEnd = 5,
    /// `out_of_memory` found no victim.
    NoVictim = 6,
}

/// `TASK_COMM_LEN` of the kernel: a process name with its NUL.
pub const COMM_LEN: usize = 16;

/// The most bytes of a command line. A longer one is cut; [`Autopsy::cmdline_size`] has the whole length.
pub const CMDLINE_LEN: usize = 1024;

/// The most bytes of an environment.
pub const ENVIRONMENT_LEN: usize = 8192;

/// Room for the names of a cgroup and its ancestors, each with its NUL.
pub const CGROUP_NAMES_LEN: usize = 2048;

/// The most levels of a cgroup path: nested systemd, kind and docker have 12.
pub const LEVELS: usize = 24;

/// How many victims of an invocation are read, in addition to the first processes of PID namespaces. The others are
/// only counted, so that the ring has room for these.
pub const LISTED: u32 = 256;

/// The value of [`Level::oom_group`] where this kernel has no such member.
pub const GROUP_UNKNOWN: u64 = 2;

/// The offset of a member that this kernel does not have.
pub const UNKNOWN_OFFSET: u32 = u32::MAX;

/// The offset of `pid` in the record of the classic tracepoint `oom:mark_victim`, in both of its layouts. It is higher in
/// kernels whose records have a `common_preempt_lazy_count`.
pub const CLASSIC_PID_OFFSET: u32 = 8;

/// `oom:mark_victim`: the kernel has chosen a victim. Written in the context of the *trigger*, the task whose allocation
/// set the OOM killer off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Mark {
    /// [`Mark::KIND`].
    pub kind: u32,
    /// `task->pid` of the victim: any thread of it.
    pub tid: u32,
    /// `task->tgid` of the victim; 0 where the tracepoint has the tid only.
    pub tgid: u32,
    /// tgid of the trigger.
    pub trigger_tgid: u32,
    /// When SIGKILL was sent, just before the mark, or else the time of the mark: `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
    /// When `out_of_memory` was entered, on the same clock; 0 where it is not probed. It is the same for all kills of one
    /// invocation.
    pub invocation_ns: u64,
    /// `oom_control.totalpages`: the limit with swap, or the node's memory, in pages.
    pub total_pages: u64,
    /// `mem_cgroup.memory.max` of the cgroup whose limit was hit, in pages.
    pub limit_pages: u64,
    /// Name of the trigger's thread.
    pub trigger_comm: [u8; COMM_LEN],
    /// Facts about this invocation, and which of the following fields were read: bits of [`invoked`].
    pub invoked: u32,
    /// `oom_control.gfp_mask`.
    pub gfp_mask: u32,
    /// `oom_control.order`; −1 for a sysrq.
    pub order: i32,
    /// `oom_control.constraint`, an `enum oom_constraint`.
    pub constraint: u32,
    /// How many bytes of `memcg_names` are in use.
    pub memcg_names_used: u32,
    /// Not 0 if an ancestor's name did not fit.
    pub memcg_names_cut: u32,
    /// The names of `oom_control.memcg` and its ancestors, in the format of [`Autopsy::cgroup_names`].
    pub memcg_names: [u8; CGROUP_NAMES_LEN],
}

/// A victim, read in its own context when SIGKILL is delivered (`signal:signal_deliver`), or as the bits of [`known`] show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Autopsy {
    /// [`Autopsy::KIND`].
    pub kind: u32,
    /// Which of the fields below were read, and when: bits of [`known`].
    pub known: u32,
    /// The first thread that received the signal.
    pub tid: u32,
    /// The victim.
    pub tgid: u32,
    /// [`Mark::stamp_ns`] of the victim's mark.
    pub mark_ns: u64,
    /// `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
    /// Resident anonymous memory, in pages.
    pub anon_pages: i64,
    /// Resident mapped files, in pages.
    pub file_pages: i64,
    /// Resident shared memory, in pages.
    pub shmem_pages: i64,
    /// Real user id, in the initial user namespace.
    pub uid: u32,
    /// Depth of the victim's PID namespace; 0 is the host's.
    pub ns_level: u32,
    /// The victim's process id in its own PID namespace.
    pub ns_tgid: u32,
    /// `signal->oom_score_adj`, −1000 to 1000.
    pub oom_score_adj: i32,
    /// Length of the command line, in bytes; more than [`CMDLINE_LEN`] if it was cut.
    pub cmdline_size: u32,
    /// How many bytes of `cmdline` were read.
    pub cmdline_read: u32,
    /// How many bytes of `cgroup_names` are in use.
    pub cgroup_names_used: u32,
    /// Not 0 if an ancestor's name did not fit.
    pub cgroup_names_cut: u32,
    /// tgid of the parent.
    pub parent_tgid: u32,
    /// How many of `levels` are in use.
    pub levels_used: u32,
    /// `task->start_boottime`: `CLOCK_BOOTTIME`, in ns.
    pub start_boot_ns: u64,
    /// How many levels above the victim's memory cgroup the nearest one is that also contains its parent process.
    pub parent_above: u32,
    /// The same for the first process of its PID namespace.
    pub reaper_above: u32,
    /// The victim's memory cgroup and its ancestors, leaf first.
    pub levels: [Level; LEVELS],
    /// `comm` of the thread group's leader.
    pub comm: [u8; COMM_LEN],
    /// The arguments, each with its NUL.
    pub cmdline: [u8; CMDLINE_LEN],
    /// The names of the memory cgroup and its ancestors, leaf first, each with its NUL; the root has none.
    pub cgroup_names: [u8; CGROUP_NAMES_LEN],
}

/// The page counters of a memory cgroup at the kill.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Level {
    /// `mem_cgroup.memory.usage`, in pages.
    pub usage_pages: u64,
    /// `mem_cgroup.memory.max`, in pages; `i64::MAX` divided by the page size without a limit.
    pub max_pages: u64,
    /// `mem_cgroup.memory.watermark`, the highest usage ever, in pages; 0 where it cannot be read.
    pub peak_pages: u64,
    /// `mem_cgroup.oom_group`, or [`GROUP_UNKNOWN`].
    pub oom_group: u64,
}

/// A victim's environment, read in its own context where the option is set. It comes before the autopsy. It can contain
/// secrets, so `Debug` leaves the bytes out.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Environment {
    /// [`Environment::KIND`].
    pub kind: u32,
    /// The victim.
    pub tgid: u32,
    /// [`Mark::stamp_ns`] of the victim's mark.
    pub mark_ns: u64,
    /// Length of the environment, in bytes; more than [`ENVIRONMENT_LEN`] if it was cut.
    pub size: u32,
    /// How many bytes were read.
    pub read: u32,
    /// `NAME=value`, each with its NUL.
    pub bytes: [u8; ENVIRONMENT_LEN],
}

/// `sched:sched_process_exit` of the last thread of a marked process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Exit {
    /// [`Exit::KIND`].
    pub kind: u32,
    /// The victim.
    pub tgid: u32,
    /// [`Mark::stamp_ns`] of the victim's mark.
    pub mark_ns: u64,
    /// `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
}

/// `out_of_memory` has returned: no more victims of this invocation are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InvocationEnd {
    /// [`InvocationEnd::KIND`].
    pub kind: u32,
    /// How many victims were marked, at least 1.
    pub marks: u32,
    /// [`Mark::invocation_ns`] of their marks.
    pub invocation_ns: u64,
    /// 1 if the first of them was sent SIGKILL again, as the kernel does when it kills the group of its first victim: it
    /// counts that victim twice.
    pub first_again: u32,
    /// Unused.
    pub pad: u32,
}

/// `out_of_memory` found no process to kill at a cgroup's limit. The cgroup livelocks, so this is written once in ten
/// seconds for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NoVictim {
    /// [`NoVictim::KIND`].
    pub kind: u32,
    /// tgid of the trigger.
    pub trigger_tgid: u32,
    /// `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
    /// `mem_cgroup.memory.max` of the cgroup, in pages; 0 where it could not be read.
    pub limit_pages: u64,
    /// Name of the trigger's thread.
    pub trigger_comm: [u8; COMM_LEN],
    /// How many bytes of `memcg_names` are in use; 0 where the names could not be read.
    pub memcg_names_used: u32,
    /// Not 0 if an ancestor's name did not fit.
    pub memcg_names_cut: u32,
    /// The names of the cgroup and its ancestors, leaf first, each with its NUL.
    pub memcg_names: [u8; CGROUP_NAMES_LEN],
}

/// Indexes of the `DROPS` map.
pub mod drops {
    /// A record found the ring full.
    pub const RING_FULL: u32 = 0;
    /// A victim found no room in the map of marks, so it has no autopsy.
    pub const MARKS_FULL: u32 = 1;
}

/// Bits of the `IN_USE` map's only value: attached programs on which others rely.
pub mod in_use {
    /// `sched_process_free`, which removes marks. They are remembered only with it.
    pub const FREE: u32 = 1;
    /// `signal_generate`. With it, a marked victim that was sent no SIGKILL was exiting already.
    pub const SENT: u32 = 1 << 1;
    /// The program on the return of `out_of_memory`.
    pub const RETURN: u32 = 1 << 2;
}

/// Bits of [`Mark::invoked`].
pub mod invoked {
    /// The `oom_control` was read: `total_pages`, `gfp_mask`, `order` and `constraint`.
    pub const CONTROL: u32 = 1;
    /// `oom_control.memcg` was null: the node's memory, or a part of it, was short.
    pub const NODE: u32 = 1 << 1;
    /// `memcg_names`.
    pub const MEMCG: u32 = 1 << 2;
    /// `limit_pages`.
    pub const LIMIT: u32 = 1 << 3;
    /// The trigger had just sent the victim SIGKILL.
    pub const KILLED: u32 = 1 << 4;
    /// The victim was exiting already and was sent no SIGKILL: the mark only lets it use the memory reserves
    /// (`task_will_free_mem` in the kernel's `mm/oom_kill.c`).
    pub const EXITING: u32 = 1 << 5;
    /// The victim's autopsy follows at once.
    pub const EXAMINED: u32 = 1 << 6;
    /// An [`InvocationEnd`](crate::InvocationEnd) follows after the last mark of the invocation.
    pub const END_FOLLOWS: u32 = 1 << 7;
    /// The victim is only counted, as [`LISTED`](crate::LISTED) of its group are read already.
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
    /// Read at the victim's exit, as it took no signal after its mark.
    pub const AT_EXIT: u32 = 1 << 6;
    /// `parent_tgid`.
    pub const PARENT: u32 = 1 << 7;
    /// `start_boot_ns`.
    pub const START: u32 = 1 << 8;
    /// `levels`.
    pub const LEVELS: u32 = 1 << 9;
    /// `uid`.
    pub const UID: u32 = 1 << 10;
    /// Read by the trigger at the mark, without the command line. Another autopsy follows.
    pub const FROM_OUTSIDE: u32 = 1 << 11;
    /// Read after SIGKILL and before the mark. It is an OOM kill only if a mark with the same stamp follows.
    pub const UNCONFIRMED: u32 = 1 << 12;
    /// `parent_above`.
    pub const PARENT_CGROUP: u32 = 1 << 13;
    /// `reaper_above`.
    pub const REAPER_CGROUP: u32 = 1 << 14;
}

// === impl Environment ===

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

/// The most records of unsettled kills in the pinned maps.
pub const KEPT_RECORDS: u32 = 256;

/// The size of each in bytes: that of an [`Autopsy`], the largest.
pub const KEPT_LEN: usize = size_of::<Autopsy>();

// Another program reads the ring than the one that writes it, so a changed layout must not compile.
const _: () = assert!(size_of::<Mark>() == 88 + CGROUP_NAMES_LEN);
const _: () =
    assert!(size_of::<Autopsy>() == 112 + LEVELS * 32 + COMM_LEN + CMDLINE_LEN + CGROUP_NAMES_LEN);
const _: () = assert!(size_of::<Exit>() == 24);
const _: () = assert!(size_of::<InvocationEnd>() == 24);
const _: () = assert!(size_of::<NoVictim>() == 48 + CGROUP_NAMES_LEN);
const _: () = assert!(size_of::<Mark>() <= KEPT_LEN);
const _: () = assert!(size_of::<Environment>() == 24 + ENVIRONMENT_LEN);
const _: () = assert!(align_of::<Autopsy>() == 8 && align_of::<Mark>() == 8);
