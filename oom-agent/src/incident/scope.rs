//! Whose limit it was. Pure: from what `out_of_memory` was given, else from which ancestor stood at its limit.

use oom_agent_ebpf::Level;

use super::{OutOfMemory, Scope};
use crate::cgroup;

/// Pages that a CPU may have charged ahead, `MEMCG_CHARGE_BATCH` of the kernel, for a few of them: a
/// cgroup stands at its limit when less than this, or than a 64th of it, is left.
const SLACK_PAGES: u64 = 512;

const EVENTS: &str = "memory.events.local";
const UNPROBED: &str = "out_of_memory cannot be probed here";

/// What the probe of `out_of_memory` saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// When it was entered; the same for all kills of one invocation.
    pub invocation_ns: u64,
    /// The path of `oom_control.memcg`; `None` when it could not be read.
    pub memcg: Option<String>,
    /// `oom_control.memcg` was null.
    pub node: bool,
    /// Of that cgroup, in pages.
    pub limit_pages: Option<u64>,
    /// `oom_control.totalpages`.
    pub total_pages: u64,
    /// `oom_control.gfp_mask`.
    pub gfp_mask: u32,
    /// `oom_control.order`.
    pub order: i32,
    /// `oom_control.constraint`.
    pub constraint: u32,
}

/// Whose limit, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Whose.
    pub scope: Scope,
    /// Of how much, in bytes.
    pub bytes: Option<u64>,
    /// The cgroup that has it.
    pub cgroup: Option<String>,
    /// What the kernel's OOM killer was given, where that was seen.
    pub oom: Option<OutOfMemory>,
    /// Why something is not known.
    pub degraded: Vec<String>,
}

/// The limit that was hit, as seen.
pub fn seen(control: &Control, page_size: u64) -> Limit {
    let oom = Some(OutOfMemory {
        gfp_mask: control.gfp_mask,
        order: control.order,
        constraint: constraint(control.constraint),
    });
    // include/linux/oom.h: "order == -1 means the oom kill is required by sysrq".
    if control.order == -1 || control.node {
        return Limit {
            scope: if control.order == -1 {
                Scope::Sysrq
            } else {
                Scope::Node
            },
            bytes: (control.order != -1).then(|| control.total_pages.saturating_mul(page_size)),
            cgroup: None,
            oom,
            degraded: Vec::new(),
        };
    }
    let mut degraded = Vec::new();
    if control.memcg.is_none() {
        degraded.push("limit_cgroup: its name could not be read".to_owned());
    }
    if control.limit_pages.is_none() {
        degraded.push("limit_bytes: not readable in this kernel".to_owned());
    }
    Limit {
        scope: control.memcg.as_deref().map_or(Scope::Unknown, scope_of),
        bytes: control
            .limit_pages
            .map(|pages| pages.saturating_mul(page_size)),
        cgroup: control.memcg.clone(),
        oom,
        degraded,
    }
}

/// Whether the kernel counted, by the time of a kill, that a cgroup had hit its limit: `oom` of its
/// `memory.events.local`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rose {
    /// It did.
    Yes,
    /// It did not.
    No,
    /// It did at some time, and it is not known when.
    Perhaps,
    /// It could not be read.
    Unread,
}

/// The limit that was hit, by what the kernel counted of the victim's cgroup and of each ancestor but
/// the root, leaf first; where that decides nothing, by their usage.
pub fn counted(path: &str, rose: &[Rose], levels: &[Level], page_size: u64) -> Limit {
    let depths = |wanted: Rose| (0..rose.len()).filter(move |n| rose.get(*n) == Some(&wanted));
    let full = |depth: &usize| {
        let level = levels.get(*depth);
        level.is_some_and(|level| is_full(level, page_size))
    };
    let nearest = depths(Rose::Yes).find(full);
    let (depth, how) = match (depths(Rose::Yes).count(), depths(Rose::Perhaps).find(full)) {
        (1, _) => (depths(Rose::Yes).next(), "which has risen there alone"),
        (2.., _) => (
            nearest.or_else(|| depths(Rose::Yes).next()),
            "which has risen there, and elsewhere too",
        ),
        (0, Some(depth)) => (
            Some(depth),
            "which is not 0 there, while it stands at its limit",
        ),
        (0, None) if rose.iter().all(|rose| *rose == Rose::No) => {
            return Limit {
                scope: Scope::Node,
                bytes: None,
                cgroup: None,
                oom: None,
                degraded: vec![format!(
                    "scope: told by oom of {EVENTS}, which has risen nowhere: the node's memory, or a \
                     sysrq. {UNPROBED}"
                )],
            };
        }
        (0, None) => (None, ""),
    };
    let Some((depth, path)) = depth.and_then(|depth| Some((depth, ancestor(path, depth)?))) else {
        return inferred(Some(path), levels, page_size);
    };
    let bytes = levels
        .get(depth)
        .map(|level| level.max_pages.saturating_mul(page_size));
    let mut degraded = vec![format!("scope: told by oom of {EVENTS}, {how}; {UNPROBED}")];
    if bytes.is_none() {
        degraded.push(format!("limit_bytes: {UNPROBED}"));
    }
    Limit {
        scope: scope_of(path),
        bytes,
        cgroup: Some(path.to_owned()),
        oom: None,
        degraded,
    }
}

/// The limit that was most likely hit: of the nearest ancestor that stood at its own when the victim was read.
pub fn inferred(path: Option<&str>, levels: &[Level], page_size: u64) -> Limit {
    let full = levels.iter().position(|level| is_full(level, page_size));
    let found = full.and_then(|depth| {
        let path = ancestor(path?, depth)?;
        Some((path, levels.get(depth)?.max_pages))
    });
    let Some((path, pages)) = found else {
        let reason = "out_of_memory cannot be probed here, and no ancestor stands at its limit";
        return Limit {
            scope: Scope::Unknown,
            bytes: None,
            cgroup: None,
            oom: None,
            degraded: ["scope", "limit_bytes"]
                .map(|field| format!("{field}: {reason}"))
                .to_vec(),
        };
    };
    Limit {
        scope: scope_of(path),
        bytes: Some(pages.saturating_mul(page_size)),
        cgroup: Some(path.to_owned()),
        oom: None,
        degraded: vec![
            "scope: inferred from the ancestor that stands at its limit; out_of_memory cannot be probed here"
                .to_owned(),
        ],
    }
}

pub(super) fn is_full(level: &Level, page_size: u64) -> bool {
    let unlimited = i64::MAX.unsigned_abs() / page_size.max(1);
    let left = level.max_pages.saturating_sub(level.usage_pages);
    level.max_pages < unlimited && left <= SLACK_PAGES.max(level.max_pages / 64)
}

/// A cgroup by what the path says of it.
fn scope_of(path: &str) -> Scope {
    let identity = cgroup::parse(path);
    match (identity.container_id, identity.pod_uid) {
        (Some(_), _) => Scope::Container,
        (None, Some(_)) => Scope::Pod,
        (None, None) => Scope::Ancestor,
    }
}

/// The ancestor `depth` levels up; the root is "/".
pub(super) fn ancestor(path: &str, depth: usize) -> Option<&str> {
    let mut path = path.strip_suffix('/').unwrap_or(path);
    for _ in 0..depth {
        let (parent, _) = path.rsplit_once('/')?;
        path = parent;
    }
    Some(if path.is_empty() { "/" } else { path })
}

/// `enum oom_constraint` of include/linux/oom.h.
fn constraint(number: u32) -> String {
    match number {
        0 => "none".to_owned(),
        1 => "cpuset".to_owned(),
        2 => "memory-policy".to_owned(),
        3 => "memcg".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;
    const POD: &str = "/kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8";
    const ID: &str = "32c562ed81a2622b37b80cb216859820ba51bd694f60ee4cf10d07a4011266f8";
    const UNLIMITED: u64 = i64::MAX.unsigned_abs() / PAGE;

    fn levels(levels: &[(u64, u64)]) -> Vec<Level> {
        levels
            .iter()
            .map(|(usage_pages, max_pages)| Level {
                usage_pages: *usage_pages,
                max_pages: *max_pages,
                ..Level::default()
            })
            .collect()
    }

    #[test]
    fn the_nearest_ancestor_at_its_limit_is_the_one() {
        let container = format!("{POD}/{ID}");
        let infer = |usage: [u64; 4], max: [u64; 4]| {
            let pairs: Vec<_> = usage.into_iter().zip(max).collect();
            let limit = inferred(Some(&container), &levels(&pairs), PAGE);
            (limit.scope, limit.bytes, limit.cgroup)
        };
        let none = UNLIMITED;
        let at = |path: &str| Some(path.to_owned());
        assert_eq!(
            infer(
                [16_380, 16_400, 99_999, 99_999],
                [16_384, 32_768, none, none]
            ),
            (Scope::Container, Some(64 << 20), at(&container))
        );
        assert_eq!(
            infer(
                [9_000, 32_700, 99_999, 99_999],
                [16_384, 32_768, none, none]
            ),
            (Scope::Pod, Some(128 << 20), at(POD))
        );
        assert_eq!(
            infer([9_000, 9_000, 99_900, 99_999], [none, none, 100_000, none]),
            (Scope::Ancestor, Some(409_600_000), at("/kubepods"))
        );
        assert_eq!(
            infer([9_000, 9_000, 9_000, 9_000], [16_384, none, none, none]),
            (Scope::Unknown, None, None)
        );
    }

    #[test]
    fn what_the_kernel_counted_is_believed_before_usage() {
        use Rose::{No, Perhaps, Unread, Yes};
        let container = format!("{POD}/{ID}");
        let none = UNLIMITED;
        // The container stands at its limit, and the pod's was hit.
        let usage = levels(&[(16_380, 16_384), (32_700, 32_768), (99, none), (99, none)]);
        let check = |rose: [Rose; 3], scope, bytes, cgroup: Option<&str>, says: &str| {
            let limit = counted(&container, &rose, &usage, PAGE);
            let told = (limit.scope, limit.bytes, limit.cgroup.as_deref());
            assert_eq!(told, (scope, bytes, cgroup), "{rose:?}");
            assert!(limit.degraded[0].contains(says), "{:?}", limit.degraded);
        };
        let pod = (Some(128 << 20), Some(POD));
        check([No, Yes, No], Scope::Pod, pod.0, pod.1, "there alone");
        check([Unread, Yes, Unread], Scope::Pod, pod.0, pod.1, "alone");
        check([Perhaps, Yes, No], Scope::Pod, pod.0, pod.1, "alone");
        let own = (Some(64 << 20), Some(&*container));
        check([Yes, Yes, No], Scope::Container, own.0, own.1, "elsewhere");
        check([No, Yes, Yes], Scope::Pod, pod.0, pod.1, "elsewhere");
        check([No, Perhaps, No], Scope::Pod, pod.0, pod.1, "not 0");
        check([No, No, No], Scope::Node, None, None, "nowhere");
        // Nothing can be told: the nearest that is full.
        let usage = "the ancestor that stands at its limit";
        check([No, No, Unread], Scope::Container, own.0, own.1, usage);
        check([No, No, Perhaps], Scope::Container, own.0, own.1, usage);
    }

    #[test]
    fn without_figures_of_usage_the_count_alone_tells() {
        let rose = [Rose::No, Rose::Yes];
        let limit = counted(&format!("{POD}/{ID}"), &rose, &[], PAGE);
        assert_eq!((limit.scope, limit.bytes), (Scope::Pod, None));
        assert_eq!(limit.degraded.len(), 2, "{:?}", limit.degraded);
    }

    #[test]
    fn what_the_kernel_was_given_is_believed() {
        let control = Control {
            invocation_ns: 1,
            memcg: Some(POD.to_owned()),
            node: false,
            limit_pages: Some(8192),
            total_pages: 9999,
            gfp_mask: 0xcc0,
            order: 0,
            constraint: 3,
        };
        let limit = seen(&control, PAGE);
        assert_eq!(
            (limit.scope, limit.bytes, limit.cgroup.as_deref()),
            (Scope::Pod, Some(32 << 20), Some(POD))
        );
        assert_eq!(limit.oom.unwrap().constraint, "memcg");
        assert_eq!(limit.degraded, Vec::<String>::new());

        let node = Control {
            node: true,
            memcg: None,
            constraint: 0,
            ..control.clone()
        };
        let limit = seen(&node, PAGE);
        assert_eq!((limit.scope, limit.bytes), (Scope::Node, Some(9999 * PAGE)));
        let sysrq = Control { order: -1, ..node };
        assert_eq!(seen(&sysrq, PAGE).scope, Scope::Sysrq);
        assert_eq!(seen(&sysrq, PAGE).bytes, None);
    }
}
