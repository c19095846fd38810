//! The offsets of the kernel's structure members. Rust has no CO-RE relocations, so the agent reads them from the running
//! kernel's BTF and sets them before it loads the object.

use aya_ebpf::Global;
use oom_agent_ebpf::{CLASSIC_PID_OFFSET, UNKNOWN_OFFSET};

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident)*) => {
        $($(#[$doc])* #[unsafe(no_mangle)] pub(super) static $name: Global<u32> = Global::new(UNKNOWN_OFFSET);)*
    };
}

/// 1 where argument 0 of `mark_victim` is a `struct task_struct *`, 0 where it is `int pid`.
#[unsafe(no_mangle)]
pub(super) static MARK_VICTIM_HAS_TASK: Global<u32> = Global::new(0);

/// The offset of `pid` in the record of the classic tracepoint, from its `format` file.
#[unsafe(no_mangle)]
pub(super) static CLASSIC_PID: Global<u32> = Global::new(CLASSIC_PID_OFFSET);

/// 1 if the victims' environments are to be read.
#[unsafe(no_mangle)]
pub(super) static READ_ENVIRONMENT: Global<u32> = Global::new(0);

offsets! {
    TASK_FLAGS
    TASK_PID
    TASK_TGID
    TASK_GROUP_LEADER
    TASK_COMM
    TASK_MM
    TASK_SIGNAL
    TASK_CGROUPS
    TASK_THREAD_PID
    TASK_REAL_PARENT
    TASK_REAL_CRED
    CRED_UID
    TASK_START_BOOTTIME
    /// Of `CLOCK_MONOTONIC`, as the stamps.
    TASK_START_TIME
    SIGNAL_LIVE
    SIGNAL_OOM_SCORE_ADJ
    PID_LEVEL
    PID_NUMBERS
    UPID_NR
    UPID_NS
    PIDNS_CHILD_REAPER
    /// Size of a `struct upid`.
    UPID_SIZE
    MM_ARG_START
    MM_ARG_END
    MM_ENV_START
    MM_ENV_END
    /// From the `mm_struct` to the number in each of its counters.
    MM_RSS_ANON
    MM_RSS_FILE
    MM_RSS_SHMEM
    /// From the `css_set` to the `cgroup_subsys_state *` of the memory controller.
    CSS_SET_MEMORY
    /// From the `css_set` to its `cgroup *` of the unified hierarchy.
    CSS_SET_DFL_CGRP
    CSS_CGROUP
    CGROUP_KN
    CGROUP_LEVEL
    /// From the root down to the cgroup itself: pointers, or ids of the same size.
    CGROUP_ANCESTORS
    KN_PARENT
    KN_NAME
    CSS_PARENT
    /// From a `mem_cgroup`, which starts with its css, to the numbers of its `page_counter` of memory.
    MEMCG_MEMORY_USAGE
    MEMCG_MEMORY_MAX
    MEMCG_MEMORY_WATERMARK
    MEMCG_OOM_GROUP
    OC_MEMCG
    OC_GFP_MASK
    OC_ORDER
    OC_TOTALPAGES
    OC_CONSTRAINT
}
