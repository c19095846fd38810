//! The table of the kernel's structure members: the programs read them, and the agent finds their offsets.

/// Where the kernel's BTF has an offset, or another number.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A member of a structure, by its names over time.
    Member(&'static str, &'static [&'static str]),
    /// Size of a structure.
    Size(&'static str),
    /// From a `mem_cgroup`'s css, to which the programs have a pointer, to a member, by the members that it is in.
    Memcg(&'static [&'static str]),
    /// From the `mm_struct` to the number in one of its counters, by the enumerator of that.
    Counter(&'static str),
    /// From the `css_set` to the `cgroup_subsys_state *` of the memory controller.
    MemoryCss,
    /// 1 where argument 0 of `mark_victim` is a `struct task_struct *`, 0 where it is `int pid`.
    MarkVictimHasTask,
}

/// Passes the table to a macro. A row is the name of the object's global and its [`Source`].
#[macro_export]
macro_rules! kernel_members {
    ($use_table:ident) => {
        $use_table! {
            TASK_FLAGS: Member("task_struct", &["flags"]),
            TASK_PID: Member("task_struct", &["pid"]),
            TASK_TGID: Member("task_struct", &["tgid"]),
            TASK_GROUP_LEADER: Member("task_struct", &["group_leader"]),
            TASK_COMM: Member("task_struct", &["comm"]),
            TASK_MM: Member("task_struct", &["mm"]),
            TASK_SIGNAL: Member("task_struct", &["signal"]),
            TASK_CGROUPS: Member("task_struct", &["cgroups"]),
            TASK_THREAD_PID: Member("task_struct", &["thread_pid"]),
            TASK_REAL_PARENT: Member("task_struct", &["real_parent"]),
            // Renamed in 5.5.
            TASK_START_BOOTTIME: Member("task_struct", &["start_boottime", "real_start_time"]),
            // Of `CLOCK_MONOTONIC`, as the stamps.
            TASK_START_TIME: Member("task_struct", &["start_time"]),
            TASK_REAL_CRED: Member("task_struct", &["real_cred"]),
            CRED_UID: Member("cred", &["uid"]),
            SIGNAL_LIVE: Member("signal_struct", &["live"]),
            SIGNAL_OOM_SCORE_ADJ: Member("signal_struct", &["oom_score_adj"]),
            PID_LEVEL: Member("pid", &["level"]),
            PID_NUMBERS: Member("pid", &["numbers"]),
            UPID_NR: Member("upid", &["nr"]),
            UPID_NS: Member("upid", &["ns"]),
            UPID_SIZE: Size("upid"),
            PIDNS_CHILD_REAPER: Member("pid_namespace", &["child_reaper"]),
            MM_ARG_START: Member("mm_struct", &["arg_start"]),
            MM_ARG_END: Member("mm_struct", &["arg_end"]),
            MM_ENV_START: Member("mm_struct", &["env_start"]),
            MM_ENV_END: Member("mm_struct", &["env_end"]),
            MM_RSS_ANON: Counter("MM_ANONPAGES"),
            MM_RSS_FILE: Counter("MM_FILEPAGES"),
            MM_RSS_SHMEM: Counter("MM_SHMEMPAGES"),
            CSS_SET_MEMORY: MemoryCss,
            // Its cgroup of the unified hierarchy.
            CSS_SET_DFL_CGRP: Member("css_set", &["dfl_cgrp"]),
            CSS_CGROUP: Member("cgroup_subsys_state", &["cgroup"]),
            CSS_PARENT: Member("cgroup_subsys_state", &["parent"]),
            CGROUP_KN: Member("cgroup", &["kn"]),
            CGROUP_LEVEL: Member("cgroup", &["level"]),
            // From the root down to the cgroup itself: pointers, before 6.1 ids of the same size.
            CGROUP_ANCESTORS: Member("cgroup", &["ancestors", "ancestor_ids"]),
            // Renamed in 6.15.
            KN_PARENT: Member("kernfs_node", &["__parent", "parent"]),
            KN_NAME: Member("kernfs_node", &["name"]),
            // The numbers of its `page_counter` of memory.
            MEMCG_MEMORY_USAGE: Memcg(&["memory", "usage"]),
            MEMCG_MEMORY_MAX: Memcg(&["memory", "max"]),
            MEMCG_MEMORY_WATERMARK: Memcg(&["memory", "watermark"]),
            MEMCG_OOM_GROUP: Memcg(&["oom_group"]),
            OC_MEMCG: Member("oom_control", &["memcg"]),
            OC_GFP_MASK: Member("oom_control", &["gfp_mask"]),
            OC_ORDER: Member("oom_control", &["order"]),
            OC_TOTALPAGES: Member("oom_control", &["totalpages"]),
            OC_CONSTRAINT: Member("oom_control", &["constraint"]),
            MARK_VICTIM_HAS_TASK: MarkVictimHasTask,
        }
    };
}
