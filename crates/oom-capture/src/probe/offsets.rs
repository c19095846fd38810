//! The members of the kernel's structures that the programs read, and their offsets in this kernel.

use oom_agent_ebpf::UNKNOWN_OFFSET;

use super::btf::{Btf, Member};

/// The values of the object's globals for a kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    pub(super) globals: Vec<(&'static str, u32)>,
    /// The globals whose members this kernel lacks.
    pub(super) missing: Vec<&'static str>,
}

/// The object's global, the structure, and the member by its names over time.
const MEMBERS: &[(&str, &str, &[&str])] = &[
    ("TASK_FLAGS", "task_struct", &["flags"]),
    ("TASK_PID", "task_struct", &["pid"]),
    ("TASK_TGID", "task_struct", &["tgid"]),
    ("TASK_GROUP_LEADER", "task_struct", &["group_leader"]),
    ("TASK_COMM", "task_struct", &["comm"]),
    ("TASK_MM", "task_struct", &["mm"]),
    ("TASK_SIGNAL", "task_struct", &["signal"]),
    ("TASK_CGROUPS", "task_struct", &["cgroups"]),
    ("TASK_THREAD_PID", "task_struct", &["thread_pid"]),
    ("TASK_REAL_PARENT", "task_struct", &["real_parent"]),
    // Renamed in 5.5.
    (
        "TASK_START_BOOTTIME",
        "task_struct",
        &["start_boottime", "real_start_time"],
    ),
    ("TASK_START_TIME", "task_struct", &["start_time"]),
    ("TASK_REAL_CRED", "task_struct", &["real_cred"]),
    ("CRED_UID", "cred", &["uid"]),
    ("SIGNAL_LIVE", "signal_struct", &["live"]),
    ("SIGNAL_OOM_SCORE_ADJ", "signal_struct", &["oom_score_adj"]),
    ("PID_LEVEL", "pid", &["level"]),
    ("PID_NUMBERS", "pid", &["numbers"]),
    ("UPID_NR", "upid", &["nr"]),
    ("UPID_NS", "upid", &["ns"]),
    ("PIDNS_CHILD_REAPER", "pid_namespace", &["child_reaper"]),
    ("MM_ARG_START", "mm_struct", &["arg_start"]),
    ("MM_ARG_END", "mm_struct", &["arg_end"]),
    ("MM_ENV_START", "mm_struct", &["env_start"]),
    ("MM_ENV_END", "mm_struct", &["env_end"]),
    ("CSS_SET_DFL_CGRP", "css_set", &["dfl_cgrp"]),
    ("CSS_CGROUP", "cgroup_subsys_state", &["cgroup"]),
    ("CGROUP_KN", "cgroup", &["kn"]),
    ("CGROUP_LEVEL", "cgroup", &["level"]),
    // Ids rather than pointers before 6.1.
    ("CGROUP_ANCESTORS", "cgroup", &["ancestors", "ancestor_ids"]),
    // Renamed in 6.15.
    ("KN_PARENT", "kernfs_node", &["__parent", "parent"]),
    ("KN_NAME", "kernfs_node", &["name"]),
    ("CSS_PARENT", "cgroup_subsys_state", &["parent"]),
    ("OC_MEMCG", "oom_control", &["memcg"]),
    ("OC_GFP_MASK", "oom_control", &["gfp_mask"]),
    ("OC_ORDER", "oom_control", &["order"]),
    ("OC_TOTALPAGES", "oom_control", &["totalpages"]),
    ("OC_CONSTRAINT", "oom_control", &["constraint"]),
];

/// The object's globals for the counters of resident pages, and the kernel's enumerators for them.
const COUNTERS: &[(&str, &str)] = &[
    ("MM_RSS_ANON", "MM_ANONPAGES"),
    ("MM_RSS_FILE", "MM_FILEPAGES"),
    ("MM_RSS_SHMEM", "MM_SHMEMPAGES"),
];

/// Finds every offset. A missing one is [`UNKNOWN_OFFSET`], and only its field is missing then.
pub(super) fn resolve_offsets(btf: &Btf) -> Offsets {
    let mut offsets = Offsets::default();
    for (global, structure, names) in MEMBERS {
        let found = btf
            .find_structure(structure)
            .and_then(|id| names.iter().find_map(|name| btf.find_member(id, name)));
        offsets.insert(global, found.map(|member| member.offset));
    }
    let upid = btf.find_structure("upid").and_then(|id| btf.type_size(id));
    offsets.insert("UPID_SIZE", upid);
    for (global, counter) in COUNTERS {
        offsets.insert(global, counter_offset(btf, counter));
    }
    offsets.insert("MEMCG_MEMORY_USAGE", page_counter_offset(btf, "usage"));
    offsets.insert("MEMCG_MEMORY_MAX", page_counter_offset(btf, "max"));
    let watermark = page_counter_offset(btf, "watermark");
    offsets.insert("MEMCG_MEMORY_WATERMARK", watermark);
    offsets.insert("MEMCG_OOM_GROUP", memcg_offset(btf, "oom_group"));
    offsets.insert("CSS_SET_MEMORY", memory_css_offset(btf));
    // Parameter 0 of a tracepoint's prototype is the probe's data; the tracepoint's own arguments follow.
    let has_task = btf
        .takes_structure("btf_trace_mark_victim", 1)
        .map(u32::from);
    offsets.insert("MARK_VICTIM_HAS_TASK", has_task);
    offsets
}

/// `mm_struct.rss_stat` is a structure of an array of atomics before 6.2, an array of `percpu_counter` after.
fn counter_offset(btf: &Btf, counter: &str) -> Option<u32> {
    let index = btf.find_enumerator(counter)?;
    let rss_stat = btf.find_member(btf.find_structure("mm_struct")?, "rss_stat")?;
    let (array, stride) = if btf.is_structure(rss_stat.type_id) {
        (btf.find_member(rss_stat.type_id, "count")?, 8)
    } else {
        let per_cpu = btf.element_type(rss_stat.type_id)?;
        let count = btf.find_member(per_cpu, "count")?;
        (count, btf.type_size(per_cpu)?)
    };
    rss_stat
        .offset
        .checked_add(array.offset)?
        .checked_add(index.checked_mul(stride)?)
}

/// `mem_cgroup.memory` is a `page_counter`.
fn page_counter_offset(btf: &Btf, name: &str) -> Option<u32> {
    let counter = btf.find_member(btf.find_structure("mem_cgroup")?, "memory")?;
    let number = btf.find_member(counter.type_id, name)?;
    memcg_offset(btf, "memory")?.checked_add(number.offset)
}

/// From the css in a `mem_cgroup`, to which the programs have a pointer, to another member.
fn memcg_offset(btf: &Btf, name: &str) -> Option<u32> {
    let memcg = btf.find_structure("mem_cgroup")?;
    let css = btf.find_member(memcg, "css")?;
    btf.find_member(memcg, name)?.offset.checked_sub(css.offset)
}

/// `css_set.subsys[memory_cgrp_id]`; the index depends on the kernel's configuration.
fn memory_css_offset(btf: &Btf) -> Option<u32> {
    let Member { offset, .. } = btf.find_member(btf.find_structure("css_set")?, "subsys")?;
    let index = btf.find_enumerator("memory_cgrp_id")?;
    offset.checked_add(index.checked_mul(8)?)
}

// === impl Offsets ===

impl Offsets {
    fn insert(&mut self, global: &'static str, value: Option<u32>) {
        if value.is_none() {
            self.missing.push(global);
        }
        self.globals.push((global, value.unwrap_or(UNKNOWN_OFFSET)));
    }
}
