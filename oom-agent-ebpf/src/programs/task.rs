//! Reads of the kernel's structures at the offsets that [`offsets`](super::offsets) names.

use aya_ebpf::{
    Global,
    helpers::{
        bpf_probe_read_kernel,
        generated::{bpf_get_current_task, bpf_probe_read_kernel_str, bpf_probe_read_user},
    },
};
use oom_agent_ebpf::{
    Autopsy, CGROUP_NAMES_LEN, CMDLINE_LEN, GROUP_UNKNOWN, LEVELS, Level, UNKNOWN_OFFSET, known,
};

use super::offsets as at;

/// `NAME_MAX` of a cgroup with its NUL.
const NAME_LEN: usize = 256;

/// The size of a read of a command line. A page that is not resident costs at most this much.
const CMDLINE_CHUNK: u64 = 256;

/// The subject of an autopsy.
pub(super) struct Subject {
    /// Its `task_struct`.
    pub(super) task: u64,
    pub(super) tid: u32,
    pub(super) tgid: u32,
    /// It is `current`, so its user memory can be read.
    pub(super) own: bool,
}

/// `PF_EXITING` of include/linux/sched.h.
const PF_EXITING: u32 = 4;

#[inline(always)]
pub(super) fn current_is_exiting() -> bool {
    member::<u32>(current(), &at::TASK_FLAGS).is_some_and(|flags| flags & PF_EXITING != 0)
}

/// The address of `current`.
#[inline(always)]
pub(super) fn current() -> u64 {
    // SAFETY: takes nothing, and a tracing program always has a current task.
    unsafe { bpf_get_current_task() }
}

/// The member at `offset` of the structure at `base`; `None` where the kernel has no such member.
#[inline(always)]
pub(super) fn member<T>(base: u64, offset: &Global<u32>) -> Option<T> {
    let offset = offset.load();
    if offset == UNKNOWN_OFFSET || base == 0 {
        return None;
    }
    // SAFETY: the helper copies, and fails on an address that cannot be read.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}

/// Fills the fields of the subject that can be read.
#[inline(always)]
pub(super) fn examine(subject: &Subject, autopsy: &mut Autopsy) {
    let task = subject.task;
    let uid = member(task, &at::TASK_REAL_CRED).and_then(|cred| member(cred, &at::CRED_UID));
    let mut known = set(&mut autopsy.uid, uid, known::UID);
    let leader = member(task, &at::TASK_GROUP_LEADER).unwrap_or(task);
    let comm = member(leader, &at::TASK_COMM);
    known |= set(&mut autopsy.comm, comm, known::COMM);
    let adj = member(task, &at::TASK_SIGNAL)
        .and_then(|signal| member::<i16>(signal, &at::SIGNAL_OOM_SCORE_ADJ));
    let adj = adj.map(i32::from);
    known |= set(&mut autopsy.oom_score_adj, adj, known::OOM_SCORE_ADJ);
    let reaper = read_namespace_pid(leader, autopsy);
    if let Some(mm) = member(task, &at::TASK_MM) {
        read_rss(mm, autopsy);
        if subject.own {
            read_cmdline(mm, autopsy);
        }
    }
    let parent = member::<u64>(leader, &at::TASK_REAL_PARENT);
    let parent_tgid = parent.and_then(|parent| member(parent, &at::TASK_TGID));
    known |= set(&mut autopsy.parent_tgid, parent_tgid, known::PARENT);
    let start = member(leader, &at::TASK_START_BOOTTIME);
    known |= set(&mut autopsy.start_boot_ns, start, known::START);
    if let Some(css) = memory_css(task) {
        let above = parent.and_then(|parent| levels_above(css, parent));
        known |= set(&mut autopsy.parent_above, above, known::PARENT_CGROUP);
        let above = reaper.and_then(|reaper| levels_above(css, reaper));
        known |= set(&mut autopsy.reaper_above, above, known::REAPER_CGROUP);
        if let Some(names) = Names::walk(css, &mut autopsy.cgroup_names) {
            autopsy.cgroup_names_used = names.used;
            autopsy.cgroup_names_cut = names.cut;
            known |= known::CGROUP;
        }
        read_levels(css, autopsy);
    }
    autopsy.known |= known;
}

/// Sets a field to what was read. Returns its bit of [`known`], or 0 where it was not read.
#[inline(always)]
fn set<T>(field: &mut T, read: Option<T>, bit: u32) -> u32 {
    let Some(read) = read else {
        return 0;
    };
    *field = read;
    bit
}

#[inline(always)]
fn memory_css(task: u64) -> Option<u64> {
    let css_set = member::<u64>(task, &at::TASK_CGROUPS)?;
    member(css_set, &at::CSS_SET_MEMORY)
}

/// How many levels above the cgroup of `css` the nearest one is that also contains the task `other`.
#[inline(always)]
fn levels_above(css: u64, other: u64) -> Option<u32> {
    let cgroup = member::<u64>(css, &at::CSS_CGROUP)?;
    let others = member::<u64>(memory_css(other)?, &at::CSS_CGROUP)?;
    let level = member::<u32>(cgroup, &at::CGROUP_LEVEL)?;
    let others_level = member::<u32>(others, &at::CGROUP_LEVEL)?;
    for above in 0..LEVELS as u32 {
        // The root, which contains all tasks, has level 0.
        let at = level.checked_sub(above)?;
        if at > others_level {
            continue;
        }
        let ancestor = u64::from(at) * size_of::<u64>() as u64;
        let own = member::<u64>(cgroup + ancestor, &at::CGROUP_ANCESTORS)?;
        if own == member::<u64>(others + ancestor, &at::CGROUP_ANCESTORS)? {
            return Some(above);
        }
    }
    None
}

/// Reads the page counters of a memory cgroup and its ancestors.
#[inline(always)]
fn read_levels(mut css: u64, autopsy: &mut Autopsy) {
    let mut used = 0;
    for level in &mut autopsy.levels {
        let (Some(usage_pages), Some(max_pages)) = (
            member(css, &at::MEMCG_MEMORY_USAGE),
            member(css, &at::MEMCG_MEMORY_MAX),
        ) else {
            return;
        };
        *level = Level {
            usage_pages,
            max_pages,
            peak_pages: member(css, &at::MEMCG_MEMORY_WATERMARK).unwrap_or(0),
            oom_group: member::<u8>(css, &at::MEMCG_OOM_GROUP)
                .map_or(GROUP_UNKNOWN, |group| u64::from(group & 1)),
        };
        used += 1;
        match member::<u64>(css, &at::CSS_PARENT) {
            Some(0) => break,
            Some(parent) => css = parent,
            None => return,
        }
    }
    autopsy.levels_used = used;
    autopsy.known |= known::LEVELS;
}

/// Whether a task is the first process of a PID namespace other than the host's.
#[inline(always)]
pub(super) fn is_reaper(task: u64) -> bool {
    let upid = member::<u64>(task, &at::TASK_GROUP_LEADER)
        .and_then(|leader| member::<u64>(leader, &at::TASK_THREAD_PID))
        .and_then(|pid| Some((pid, member::<u32>(pid, &at::PID_LEVEL)?)))
        .filter(|(_, level)| *level > 0)
        .and_then(|(pid, level)| own_upid(pid, level));
    upid.and_then(|upid| member::<u32>(upid, &at::UPID_NR)) == Some(1)
}

/// The `struct upid` of a `struct pid` in its own namespace.
#[inline(always)]
fn own_upid(pid: u64, level: u32) -> Option<u64> {
    let numbers = at::PID_NUMBERS.load();
    if numbers == UNKNOWN_OFFSET {
        return None;
    }
    Some(pid + u64::from(numbers) + u64::from(level) * u64::from(at::UPID_SIZE.load()))
}

/// Returns the first process of its namespace.
#[inline(always)]
fn read_namespace_pid(leader: u64, autopsy: &mut Autopsy) -> Option<u64> {
    let pid = member::<u64>(leader, &at::TASK_THREAD_PID)?;
    let level = member::<u32>(pid, &at::PID_LEVEL)?;
    let upid = own_upid(pid, level)?;
    if let Some(nr) = member::<u32>(upid, &at::UPID_NR) {
        autopsy.ns_level = level;
        autopsy.ns_tgid = nr;
        autopsy.known |= known::NS_TGID;
    }
    let namespace = member::<u64>(upid, &at::UPID_NS)?;
    member(namespace, &at::PIDNS_CHILD_REAPER)
}

#[inline(always)]
fn read_rss(mm: u64, autopsy: &mut Autopsy) {
    let (Some(anon), Some(file), Some(shmem)) = (
        member::<i64>(mm, &at::MM_RSS_ANON),
        member::<i64>(mm, &at::MM_RSS_FILE),
        member::<i64>(mm, &at::MM_RSS_SHMEM),
    ) else {
        return;
    };
    autopsy.anon_pages = anon;
    autopsy.file_pages = file;
    autopsy.shmem_pages = shmem;
    autopsy.known |= known::RSS;
}

/// Never reads beyond `arg_end`, where the environment begins.
#[inline(always)]
fn read_cmdline(mm: u64, autopsy: &mut Autopsy) {
    let (Some(start), Some(end)) = (
        member::<u64>(mm, &at::MM_ARG_START),
        member::<u64>(mm, &at::MM_ARG_END),
    ) else {
        return;
    };
    let size = end.saturating_sub(start);
    autopsy.cmdline_size = size.min(u64::from(u32::MAX)) as u32;
    autopsy.known |= known::CMDLINE;
    for chunk in 0..CMDLINE_LEN as u64 / CMDLINE_CHUNK {
        let done = chunk * CMDLINE_CHUNK;
        if done >= size {
            break;
        }
        let mut want = size - done;
        if want > CMDLINE_CHUNK {
            want = CMDLINE_CHUNK;
        }
        // SAFETY: `done` + `want` stay within `cmdline`, and the helper fails on memory that it cannot read.
        let read = unsafe {
            bpf_probe_read_user(
                autopsy.cmdline.as_mut_ptr().add(done as usize).cast(),
                // Bounded again: older verifiers lose a bound when the compiler spills its value.
                (core::hint::black_box(want) & (2 * CMDLINE_CHUNK - 1)) as u32,
                (start + done) as *const _,
            )
        };
        if read != 0 {
            break;
        }
        autopsy.cmdline_read = (done + want) as u32;
    }
}

/// The names that [`Names::walk`] wrote.
pub(super) struct Names {
    pub(super) used: u32,
    pub(super) cut: u32,
}

impl Names {
    /// Writes the names of the cgroup of a `cgroup_subsys_state` and of its ancestors, by
    /// `css->cgroup->kn` and up: right on cgroup v1 and v2 alike.
    #[inline(always)]
    pub(super) fn walk(css: u64, names: &mut [u8; CGROUP_NAMES_LEN]) -> Option<Self> {
        Self::walk_cgroup(member::<u64>(css, &at::CSS_CGROUP)?, names)
    }

    /// [`walk`](Self::walk) for a `cgroup`.
    #[inline(always)]
    pub(super) fn walk_cgroup(cgroup: u64, names: &mut [u8; CGROUP_NAMES_LEN]) -> Option<Self> {
        let mut kn = member::<u64>(cgroup, &at::CGROUP_KN)?;
        let mut used: u64 = 0;
        let mut is_complete = false;
        // One more than there are levels, to reach the root, which has no name.
        for _ in 0..=LEVELS {
            let parent = member::<u64>(kn, &at::KN_PARENT)?;
            if parent == 0 {
                is_complete = true;
                break;
            }
            let name = member::<u64>(kn, &at::KN_NAME)?;
            // The checked value itself is used: older verifiers do not apply a bound to copies.
            let at = core::hint::black_box(used);
            if at > (CGROUP_NAMES_LEN - NAME_LEN) as u64 {
                break;
            }
            // SAFETY: `used` leaves room for a name of NAME_LEN, and the helper fails on memory that it cannot read.
            let len = unsafe {
                bpf_probe_read_kernel_str(
                    names.as_mut_ptr().add(at as usize).cast(),
                    NAME_LEN as u32,
                    name as *const _,
                )
            };
            if len <= 0 {
                return None;
            }
            used = at + len as u64;
            kn = parent;
        }
        Some(Self {
            used: used as u32,
            cut: u32::from(!is_complete),
        })
    }
}
