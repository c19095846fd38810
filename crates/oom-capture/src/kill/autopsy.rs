//! Decodes the kernel's records.

use oom_agent_ebpf::{Autopsy, CMDLINE_LEN, Mark, invoked, known};

use super::process::{Process, Rss};
use super::victims::{OomControl, Reading, Victim};

/// A victim by one record. No reasons for missing fields are noted yet: another record may have them.
pub(super) fn victim_from_autopsy(autopsy: &Autopsy, page_size: u64) -> Victim {
    let has = |bit| autopsy.known & bit != 0;
    let bytes = |pages: i64| u64::try_from(pages).unwrap_or(0).saturating_mul(page_size);
    let mut degraded = Vec::new();
    let mut process = Process {
        pid: autopsy.tgid,
        comm: has(known::COMM).then(|| decode_name(&autopsy.comm)),
        parent_pid: has(known::PARENT).then_some(autopsy.parent_tgid),
        namespace_pid: has(known::NS_TGID).then_some(autopsy.ns_tgid),
        namespace_level: has(known::NS_TGID).then_some(autopsy.ns_level),
        start_boot_ns: has(known::START).then_some(autopsy.start_boot_ns),
        uid: has(known::UID).then_some(autopsy.uid),
        oom_score_adj: has(known::OOM_SCORE_ADJ).then_some(autopsy.oom_score_adj),
        rss_bytes: has(known::RSS).then(|| Rss {
            anon: bytes(autopsy.anon_pages),
            file: bytes(autopsy.file_pages),
            shmem: bytes(autopsy.shmem_pages),
        }),
        ..Process::default()
    };
    if has(known::CGROUP) {
        process.cgroup = Some(cgroup_path(
            &autopsy.cgroup_names,
            autopsy.cgroup_names_used,
            autopsy.cgroup_names_cut,
        ));
        if autopsy.cgroup_names_cut != 0 {
            degraded
                .push("cgroup: too deep, the ancestors next to the root are left out".to_owned());
        }
    }
    if has(known::CMDLINE) {
        process.cmdline = decode_cmdline(autopsy, &mut degraded);
    }
    let levels = if has(known::LEVELS) {
        autopsy.levels_used as usize
    } else {
        0
    };
    Victim {
        marked_pid: autopsy.tgid,
        stamp_ns: autopsy.mark_ns,
        process,
        reading: Reading::Autopsied,
        exiting: false,
        group: None,
        levels: autopsy.levels.iter().take(levels).copied().collect(),
        parent_above: has(known::PARENT_CGROUP).then_some(autopsy.parent_above),
        reaper_above: has(known::REAPER_CGROUP).then_some(autopsy.reaper_above),
        degraded,
        missing: Vec::new(),
    }
}

pub(super) fn oom_control(mark: &Mark) -> Option<OomControl> {
    let has = |bit| mark.invoked & bit != 0;
    has(invoked::CONTROL).then(|| OomControl {
        invocation_ns: mark.invocation_ns,
        memcg: has(invoked::MEMCG).then(|| {
            cgroup_path(
                &mark.memcg_names,
                mark.memcg_names_used,
                mark.memcg_names_cut,
            )
        }),
        node: has(invoked::NODE),
        limit_pages: has(invoked::LIMIT).then_some(mark.limit_pages),
        total_pages: mark.total_pages,
        gfp_mask: mark.gfp_mask,
        order: mark.order,
        constraint: mark.constraint,
    })
}

/// The path of a cgroup from its record: `names` are NUL-terminated and leaf first, `used` of their bytes are in
/// use, and `cut` is not 0 where the names next to the root are missing, for which `/…` stands.
pub fn cgroup_path(names: &[u8], used: u32, cut: u32) -> String {
    let mut path = String::new();
    if cut != 0 {
        path.push_str("/…");
    }
    for name in used_part(names, used)
        .split(|byte| *byte == 0)
        .rev()
        .filter(|name| !name.is_empty())
    {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    if path.is_empty() {
        path.push('/');
    }
    path
}

fn decode_cmdline(autopsy: &Autopsy, degraded: &mut Vec<String>) -> Option<Vec<String>> {
    if autopsy.cmdline_read < autopsy.cmdline_size {
        let reason = if autopsy.cmdline_read as usize == CMDLINE_LEN {
            "cut at 1024"
        } else {
            "not all was resident: read up to"
        };
        degraded.push(format!(
            "cmdline: {reason} of {} bytes",
            autopsy.cmdline_size
        ));
        if autopsy.cmdline_read == 0 {
            return None;
        }
    }
    Some(split_arguments(used_part(
        &autopsy.cmdline,
        autopsy.cmdline_read,
    )))
}

/// The arguments of a command line, in which the kernel terminates each with NUL.
pub fn split_arguments(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

/// The name in a fixed array, up to its NUL.
pub fn decode_name(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let name = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
    String::from_utf8_lossy(name).into_owned()
}

/// The part of an array that is in use; never more than the array.
fn used_part(bytes: &[u8], len: u32) -> &[u8] {
    bytes
        .get(..(len as usize).min(bytes.len()))
        .unwrap_or_default()
}
