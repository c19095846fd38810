//! From the kernel's record of a victim to words and bytes.

use oom_agent_ebpf::{Autopsy, CMDLINE_LEN, known};

use super::{Rss, Victim};

/// What was read of a victim in its own context, and what should have been.
pub(super) fn victim(autopsy: &Autopsy, page_size: u64, degraded: &mut Vec<String>) -> Victim {
    let has = |bit| autopsy.known & bit != 0;
    let mut want = |bit, field: &str| {
        if !has(bit) {
            degraded.push(format!("{field}: {}", unreadable(autopsy)));
        }
        has(bit)
    };
    let bytes = |pages: i64| u64::try_from(pages).unwrap_or(0).saturating_mul(page_size);
    Victim {
        pid: autopsy.tgid,
        comm: want(known::COMM, "comm").then(|| text(&autopsy.comm)),
        uid: Some(autopsy.uid),
        oom_score_adj: want(known::OOM_SCORE_ADJ, "oom_score_adj").then_some(autopsy.oom_score_adj),
        rss_bytes: want(known::RSS, "rss_bytes").then(|| Rss {
            anon: bytes(autopsy.anon_pages),
            file: bytes(autopsy.file_pages),
            shmem: bytes(autopsy.shmem_pages),
        }),
        namespace_pid: want(known::NS_TGID, "outcome")
            .then_some((autopsy.ns_level, autopsy.ns_tgid)),
        cgroup: want(known::CGROUP, "cgroup").then(|| cgroup(autopsy, degraded)),
        cmdline: if has(known::CMDLINE) {
            cmdline(autopsy, degraded)
        } else {
            degraded.push(format!("cmdline: {}", unreadable(autopsy)));
            None
        },
        container: None,
        pod: None,
    }
}

fn unreadable(autopsy: &Autopsy) -> &'static str {
    if autopsy.known & known::AT_EXIT == 0 {
        "not readable in this kernel"
    } else {
        "read at its exit, where this was gone already"
    }
}

/// Names leaf first become a path from the root.
fn cgroup(autopsy: &Autopsy, degraded: &mut Vec<String>) -> String {
    let names = head(&autopsy.cgroup_names, autopsy.cgroup_names_used);
    let mut path = String::new();
    if autopsy.cgroup_names_cut != 0 {
        degraded.push("cgroup: too deep, the ancestors next to the root are left out".to_owned());
        path.push_str("/…");
    }
    for name in names
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

fn cmdline(autopsy: &Autopsy, degraded: &mut Vec<String>) -> Option<Vec<String>> {
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
    Some(arguments(head(&autopsy.cmdline, autopsy.cmdline_read)))
}

/// NUL-terminated arguments, as the kernel keeps them.
pub fn arguments(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

/// A name in a fixed array, up to its NUL.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let name = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
    String::from_utf8_lossy(name).into_owned()
}

/// The part of an array that is in use, whatever the length says.
fn head(bytes: &[u8], len: u32) -> &[u8] {
    bytes
        .get(..(len as usize).min(bytes.len()))
        .unwrap_or_default()
}
