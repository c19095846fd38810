//! Whose limit was hit: from the arguments of `out_of_memory`, else from the kernel's counters, else from
//! the usage of the victim's ancestors. Pure.

use memcg::{LimitHit, SwapCounter, ancestor};
use oom_agent_ebpf::Level;
use oom_capture::{OomControl, SLACK_PAGES, Victim, is_full};

use super::position::classify_scope;
use super::{Incident, LimitKind, OutOfMemory, Scope};

const EVENTS: &str = "memory.events.local";
const UNPROBED: &str = "out_of_memory cannot be probed here";

/// The limit that was hit, from the arguments of `out_of_memory`. `victim` is the path of its cgroup.
pub(crate) fn limit_from_control(
    control: &OomControl,
    victim: Option<&str>,
    page_size: u64,
) -> Incident {
    let bytes = |pages: u64| pages.saturating_mul(page_size);
    // If the trigger is dying, the kernel stops early: it counts no pages, and the constraint of the
    // allocation stays unknown (mm/oom_kill.c, `out_of_memory`).
    let counted = control.total_pages > 0;
    let oom = Some(OutOfMemory {
        gfp_mask: control.gfp_mask,
        order: control.order,
        constraint: match control.constraint {
            CONSTRAINT_NONE if !control.node => constraint_name(CONSTRAINT_MEMCG),
            CONSTRAINT_NONE if !counted => "unknown".to_owned(),
            number => constraint_name(number),
        },
    });
    // include/linux/oom.h: "order == -1 means the oom kill is required by sysrq".
    if control.order == -1 || control.node {
        let scope = match control.constraint {
            _ if control.order == -1 => Scope::Sysrq,
            CONSTRAINT_CPUSET | CONSTRAINT_MEMORY_POLICY => Scope::Confined,
            _ => Scope::Node,
        };
        return Incident {
            scope,
            limit_bytes: (scope != Scope::Sysrq && counted).then(|| bytes(control.total_pages)),
            oom,
            ..Incident::default()
        };
    }
    let scope = control.memcg.as_deref();
    let mut incident = Incident {
        scope: scope.map_or(Scope::Unknown, |memcg| classify_scope(memcg, victim)),
        limit_kind: Some(LimitKind::Memory),
        oom,
        ..Incident::default()
    };
    let memcg = control.memcg.clone().ok_or("its name could not be read");
    incident.limit_cgroup = incident.record("limit_cgroup", memcg);
    let limit = control.limit_pages.map(bytes);
    let limit = limit.ok_or("not readable in this kernel");
    incident.limit_bytes = incident.record("limit_bytes", limit);
    if victim.is_none() && control.memcg.is_some() {
        let reason = "inferred from limit_cgroup alone: the victim's own is not known";
        incident.note("scope", reason);
    }
    incident
}

/// The limit that was hit, from the kernel's counters of the victim's cgroup and of each ancestor but
/// the root, leaf first; where they decide nothing, from the usage.
pub(crate) fn limit_from_counters(
    path: &str,
    rose: &[LimitHit],
    levels: &[Level],
    page_size: u64,
) -> Incident {
    let depths = |wanted: LimitHit| (0..rose.len()).filter(move |n| rose.get(*n) == Some(&wanted));
    let full = |depth: &usize| {
        let level = levels.get(*depth);
        level.is_some_and(|level| is_full(level, page_size))
    };
    let nearest = depths(LimitHit::Yes).find(full);
    let (depth, how) = match (
        depths(LimitHit::Yes).count(),
        depths(LimitHit::Perhaps).find(full),
    ) {
        (1, _) => (depths(LimitHit::Yes).next(), "which has risen there alone"),
        (2.., _) => (
            nearest.or_else(|| depths(LimitHit::Yes).next()),
            "which has risen there, and elsewhere too",
        ),
        (0, Some(depth)) => (
            Some(depth),
            "which is not 0 there, while it stands at its limit",
        ),
        (0, None) if rose.iter().all(|rose| *rose == LimitHit::No) => {
            let mut incident = Incident {
                scope: Scope::Node,
                ..Incident::default()
            };
            let how = "which has risen nowhere: the node's memory, or a sysrq. ";
            incident.note(
                "scope",
                &format!("read from oom of {EVENTS}, {how}{UNPROBED}"),
            );
            return incident;
        }
        (0, None) => (None, ""),
    };
    let Some((depth, cgroup)) = depth.and_then(|depth| Some((depth, ancestor(path, depth)?)))
    else {
        return infer_limit(Some(path), levels, page_size);
    };
    let bytes = levels
        .get(depth)
        .map(|level| level.max_pages.saturating_mul(page_size));
    let mut incident = Incident::at_limit_of(cgroup, Some(path));
    incident.note(
        "scope",
        &format!("read from oom of {EVENTS}, {how}; {UNPROBED}"),
    );
    incident.limit_bytes = incident.record("limit_bytes", bytes.ok_or(UNPROBED));
    incident
}

/// The limit that was most likely hit: that of the nearest ancestor that was full when the victim was read.
pub(crate) fn infer_limit(path: Option<&str>, levels: &[Level], page_size: u64) -> Incident {
    let full = levels.iter().position(|level| is_full(level, page_size));
    let found = full.and_then(|depth| {
        let cgroup = ancestor(path?, depth)?;
        Some((cgroup, levels.get(depth)?.max_pages))
    });
    let Some((cgroup, pages)) = found else {
        let reason = "out_of_memory cannot be probed here, and no ancestor stands at its limit";
        let mut incident = Incident::default();
        incident.note("scope", reason);
        incident.note("limit_bytes", reason);
        return incident;
    };
    let mut incident = Incident::at_limit_of(cgroup, path);
    incident.limit_bytes = Some(pages.saturating_mul(page_size));
    let reason =
        "inferred from the ancestor that stands at its limit; out_of_memory cannot be probed here";
    incident.note("scope", reason);
    incident
}

/// Notes that the limit of memory and swap together was hit. Cgroup v1 has both limits, and the arguments
/// of `out_of_memory` do not differ: it was this one where memory alone had not reached its own.
/// `counter` reads a cgroup's counter of both.
pub(crate) fn detect_swap_limit(
    incident: &mut Incident,
    killed: &[Victim],
    page_size: u64,
    counter: impl Fn(&str) -> Option<SwapCounter>,
) {
    let reached = |cgroup: &str| {
        let level = level_of(killed, cgroup).filter(|level| !is_full(level, page_size));
        level.and_then(|_| counter(cgroup).filter(|it| was_reached(*it, page_size)))
    };
    let victim = victim_path(killed);
    let unknown = incident.scope == Scope::Unknown;
    let ancestors = (0..).map_while(|depth| ancestor(victim.filter(|_| unknown)?, depth));
    let found = (incident
        .limit_cgroup
        .as_deref()
        .into_iter()
        .chain(ancestors))
    .find_map(|cgroup| Some((cgroup.to_owned(), reached(cgroup)?)));
    let Some((cgroup, counter)) = found else {
        return;
    };
    if unknown {
        incident.scope = classify_scope(&cgroup, victim);
        let reason = "inferred from memory.memsw.max_usage_in_bytes, which has come to its limit; out_of_memory cannot be probed here";
        incident.note("scope", reason);
    }
    incident.limit_bytes = incident.record("limit_bytes", Ok(counter.limit_bytes));
    incident.limit_kind = Some(LimitKind::MemoryAndSwap);
    incident.limit_cgroup = incident.record("limit_cgroup", Ok(cgroup));
}

/// A cgroup's figures at the kill. Of several victims the first read counts: no memory was given back yet.
pub(super) fn level_of(killed: &[Victim], cgroup: &str) -> Option<Level> {
    let levels = killed.iter().filter_map(|killed| {
        let own = killed.process.cgroup.as_deref()?;
        let mut levels = killed.levels.iter().enumerate();
        levels.find_map(|(depth, level)| (ancestor(own, depth) == Some(cgroup)).then_some(*level))
    });
    levels.max_by_key(|level| level.usage_pages)
}

/// The cgroup of the first victim whose cgroup is known.
pub(crate) fn victim_path(killed: &[Victim]) -> Option<&str> {
    killed
        .iter()
        .find_map(|killed| killed.process.cgroup.as_deref())
}

/// `enum oom_constraint` of include/linux/oom.h.
const CONSTRAINTS: [&str; 4] = ["none", "cpuset", "memory-policy", "memcg"];
const CONSTRAINT_NONE: u32 = 0;
const CONSTRAINT_CPUSET: u32 = 1;
const CONSTRAINT_MEMORY_POLICY: u32 = 2;
const CONSTRAINT_MEMCG: u32 = 3;

fn was_reached(counter: SwapCounter, page_size: u64) -> bool {
    let left = counter.limit_bytes.saturating_sub(counter.peak_bytes);
    left <= SLACK_PAGES.saturating_mul(page_size)
}

fn constraint_name(number: u32) -> String {
    let name = CONSTRAINTS.get(number as usize);
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oom_capture::Process;

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
    fn the_nearest_full_ancestor_is_inferred() {
        let container = format!("{POD}/{ID}");
        let infer = |usage: [u64; 4], max: [u64; 4]| {
            let pairs: Vec<_> = usage.into_iter().zip(max).collect();
            let incident = infer_limit(Some(&container), &levels(&pairs), PAGE);
            (incident.scope, incident.limit_bytes, incident.limit_cgroup)
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
        use LimitHit::{No, Perhaps, Unread, Yes};
        let container = format!("{POD}/{ID}");
        let none = UNLIMITED;
        // The container stands at its limit, and the pod's was hit.
        let usage = levels(&[(16_380, 16_384), (32_700, 32_768), (99, none), (99, none)]);
        let check = |rose: [LimitHit; 3], scope, bytes, cgroup: Option<&str>, reason: &str| {
            let incident = limit_from_counters(&container, &rose, &usage, PAGE);
            let actual = (
                incident.scope,
                incident.limit_bytes,
                incident.limit_cgroup.as_deref(),
            );
            assert_eq!(actual, (scope, bytes, cgroup), "{rose:?}");
            assert!(
                incident.degraded[0].contains(reason),
                "{:?}",
                incident.degraded
            );
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
        // The counters decide nothing: the nearest that is full.
        let usage = "the ancestor that stands at its limit";
        check([No, No, Unread], Scope::Container, own.0, own.1, usage);
        check([No, No, Perhaps], Scope::Container, own.0, own.1, usage);
    }

    #[test]
    fn without_usage_the_counters_alone_decide() {
        let rose = [LimitHit::No, LimitHit::Yes];
        let incident = limit_from_counters(&format!("{POD}/{ID}"), &rose, &[], PAGE);
        assert_eq!((incident.scope, incident.limit_bytes), (Scope::Pod, None));
        assert_eq!(incident.degraded.len(), 2, "{:?}", incident.degraded);
    }

    #[test]
    fn what_the_kernel_was_given_is_believed() {
        let control = OomControl {
            total_pages: 9999,
            ..control()
        };
        let incident = limit_from_control(&control, Some(&format!("{POD}/{ID}")), PAGE);
        assert_eq!(
            (
                incident.scope,
                incident.limit_bytes,
                incident.limit_cgroup.as_deref()
            ),
            (Scope::Pod, Some(32 << 20), Some(POD))
        );
        assert_eq!(incident.oom.unwrap().constraint, "memcg");
        assert_eq!(incident.degraded, Vec::<String>::new());

        let node = OomControl {
            node: true,
            memcg: None,
            constraint: 0,
            ..control.clone()
        };
        let incident = limit_from_control(&node, None, PAGE);
        assert_eq!(
            (incident.scope, incident.limit_bytes),
            (Scope::Node, Some(9999 * PAGE))
        );
        let sysrq = OomControl { order: -1, ..node };
        let incident = limit_from_control(&sysrq, None, PAGE);
        assert_eq!((incident.scope, incident.limit_bytes), (Scope::Sysrq, None));
    }

    fn control() -> OomControl {
        OomControl {
            invocation_ns: 1,
            memcg: Some(POD.to_owned()),
            node: false,
            limit_pages: Some(8192),
            total_pages: 8192,
            gfp_mask: 0xcc0,
            order: 0,
            constraint: 3,
        }
    }

    #[test]
    fn memory_that_an_allocation_is_confined_to_is_not_the_nodes() {
        for (constraint, total_pages, scope, bytes, word) in [
            (0, 9999, Scope::Node, Some(9999 * PAGE), "none"),
            (1, 9999, Scope::Confined, Some(9999 * PAGE), "cpuset"),
            (2, 9999, Scope::Confined, Some(9999 * PAGE), "memory-policy"),
            // A dying trigger is chosen before the kernel looks at either.
            (0, 0, Scope::Node, None, "unknown"),
        ] {
            let node = OomControl {
                memcg: None,
                node: true,
                limit_pages: None,
                total_pages,
                constraint,
                ..control()
            };
            let incident = limit_from_control(&node, None, PAGE);
            assert_eq!(
                (incident.scope, incident.limit_bytes, incident.limit_kind),
                (scope, bytes, None)
            );
            assert_eq!(incident.oom.unwrap().constraint, word);
        }
        let dying = OomControl {
            total_pages: 0,
            constraint: 0,
            ..control()
        };
        let incident = limit_from_control(&dying, Some(POD), PAGE);
        assert_eq!(
            (incident.scope, incident.limit_bytes),
            (Scope::Pod, Some(32 << 20))
        );
        assert_eq!(incident.oom.unwrap().constraint, "memcg");
    }

    #[test]
    fn a_victim_without_a_path_leaves_the_limits_own() {
        let incident = limit_from_control(&control(), None, PAGE);
        assert_eq!(incident.scope, Scope::Pod);
        assert!(incident.degraded[0].starts_with("scope: "), "{incident:?}");
    }

    #[test]
    fn memory_and_swap_together_have_a_limit_on_cgroup_v1() {
        let container = format!("{POD}/{ID}");
        let counter = |limit_bytes: u64, peak_bytes: u64| SwapCounter {
            limit_bytes: limit_bytes << 20,
            peak_bytes: peak_bytes << 20,
        };
        // Pages that the container uses, and may; the counter; the expected limit.
        let check = |usage: (u64, u64), counter: Option<SwapCounter>, expect: Option<u64>| {
            let killed = [Victim {
                process: Process {
                    cgroup: Some(container.clone()),
                    ..Process::default()
                },
                levels: levels(&[usage, (30_000, UNLIMITED)]),
                ..Victim::default()
            }];
            let seen = OomControl {
                memcg: Some(container.clone()),
                limit_pages: Some(usage.1),
                ..control()
            };
            let inferred = infer_limit(Some(&container), &killed[0].levels, PAGE);
            let probed = super::limit_from_control(&seen, Some(&container), PAGE);
            for mut incident in [probed, inferred] {
                detect_swap_limit(&mut incident, &killed, PAGE, |cgroup| {
                    counter.filter(|_| cgroup == container)
                });
                let actual = (incident.limit_kind == Some(LimitKind::MemoryAndSwap))
                    .then_some(incident.limit_bytes);
                assert_eq!(actual.flatten(), expect, "{incident:?}");
                if expect.is_some() {
                    assert_eq!(incident.scope, Scope::Container);
                    assert_eq!(incident.limit_cgroup.as_deref(), Some(&*container));
                }
            }
        };
        check((10_000, 16_384), Some(counter(96, 96)), Some(96 << 20));
        check((10_000, 16_384), Some(counter(96, 60)), None);
        check((10_000, 16_384), None, None);
        // Memory alone is full: without swap both limits are one.
        check((16_380, 16_384), Some(counter(64, 64)), None);
    }

    #[test]
    fn a_cgroup_that_is_found_by_its_counters_has_no_reason() {
        let container = format!("{POD}/{ID}");
        let killed = [Victim {
            process: Process {
                cgroup: Some(container.clone()),
                ..Process::default()
            },
            levels: levels(&[(10_000, 16_384), (30_000, UNLIMITED)]),
            ..Victim::default()
        }];
        let unnamed = OomControl {
            memcg: None,
            ..control()
        };
        let mut incident = limit_from_control(&unnamed, Some(&container), PAGE);
        let has_reason =
            |it: &Incident| (it.degraded.iter()).any(|why| why.starts_with("limit_cgroup: "));
        assert!(has_reason(&incident), "{incident:?}");
        let counter = SwapCounter {
            limit_bytes: 96 << 20,
            peak_bytes: 96 << 20,
        };
        detect_swap_limit(&mut incident, &killed, PAGE, |cgroup| {
            (cgroup == container).then_some(counter)
        });
        assert_eq!(incident.limit_cgroup.as_deref(), Some(&*container));
        assert!(!has_reason(&incident), "{incident:?}");
    }
}
