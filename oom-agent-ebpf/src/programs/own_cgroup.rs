//! `sched:sched_process_exit` of a thread of the agent, to read the agent's own cgroup. In a cgroup namespace nothing else
//! has the names above its root.

use aya_ebpf::{
    EbpfContext, Global,
    macros::{btf_tracepoint, map},
    maps::Array,
    programs::BtfTracePointContext,
};
use oom_agent_ebpf::CGROUP_NAMES_LEN;

use super::{
    access::value,
    offsets as at,
    task::{self, Names},
};

/// The name of that thread, `comm` with its NUL, in one word. The agent chooses a unique name, as it does not know the
/// thread's pid in the initial namespace.
#[unsafe(no_mangle)]
static OWN_COMM: Global<u128> = Global::new(0);

/// 1 if the memory controller is in the unified hierarchy. There the css can be an ancestor's, where the controller is not
/// delegated; the cgroup is the one that /proc shows.
#[unsafe(no_mangle)]
static OWN_UNIFIED: Global<u32> = Global::new(0);

/// The names of its memory cgroup and of the ancestors, leaf first, each with its NUL. Another NUL follows if they are
/// complete.
#[map]
static OWN_CGROUP: Array<[u8; CGROUP_NAMES_LEN]> = Array::with_max_entries(1, 0);

#[btf_tracepoint(function = "sched_process_exit")]
pub(super) fn own_cgroup(ctx: BtfTracePointContext) -> i32 {
    let Ok(comm) = ctx.command() else {
        return 0;
    };
    if u128::from_ne_bytes(comm) != OWN_COMM.load() {
        return 0;
    }
    // Only one thread has that name.
    let Some(names) = value(OWN_CGROUP.get_ptr_mut(0)) else {
        return 0;
    };
    let Some(css_set) = task::member::<u64>(task::current(), &at::TASK_CGROUPS) else {
        return 0;
    };
    let cgroup = if OWN_UNIFIED.load() == 1 {
        task::member::<u64>(css_set, &at::CSS_SET_DFL_CGRP)
    } else {
        task::member::<u64>(css_set, &at::CSS_SET_MEMORY)
            .and_then(|css| task::member::<u64>(css, &at::CSS_CGROUP))
    };
    let is_complete = cgroup
        .and_then(|cgroup| Names::walk_cgroup(cgroup, names))
        .is_some_and(|names| names.cut == 0);
    if !is_complete {
        names[0] = 0;
    }
    0
}
