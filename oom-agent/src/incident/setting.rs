//! Whether a pod's limit is its own setting or its containers', and whether it was lowered. Pure.
//!
//! The kubelet gives a pod the sum of its containers' limits. The sandbox has some pages too, so the
//! pod's counter is full before a container's is, and the kernel counts the OOM there. The setting to
//! change is the container's limit all the same, unless the pod has a limit of its own
//! (`spec.resources.limits`).

use std::cmp::Reverse;

use memcg::{NodeRoot, Owners, is_within};
use oom_agent_ebpf::Level;
use oom_capture::{SLACK_PAGES, Victim, level_limit_bytes};

use super::scope::{level_of, victim_path};
use super::{Holder, Incident, Process, Scope, Setting};

/// A sandbox has no limit, and holds less than this: pause has 0.1 to 0.3 MiB, its kernel memory included.
const SANDBOX: u64 = 2 << 20;

/// Reported holders.
const HOLDERS: usize = 8;

/// Decides whose setting a pod's limit is, and lists who holds its memory. `children` are the cgroups
/// directly below the pod's as they are now; `None` where they could not be read.
pub(crate) fn choose_setting(
    incident: &mut Incident,
    killed: &[Victim],
    children: Option<Vec<Holder>>,
    page_size: u64,
) {
    let (Scope::Pod, Some(pod)) = (incident.scope, incident.limit_bytes) else {
        return;
    };
    let read = children.is_some();
    let mut children = children.unwrap_or_default();
    let container = victim_path(killed).and_then(|path| Owners::from_path(path).container);
    if let Some((cgroup, level)) = container.and_then(|own| Some((own, level_of(killed, own)?))) {
        // Now it may be gone, or have given back what it held.
        children.retain(|child| child.cgroup != cgroup);
        children.push(holder_at_kill(cgroup, level, page_size));
    }
    let own = children
        .iter()
        .find(|child| Some(child.cgroup.as_str()) == container);
    incident.setting = own.and_then(|own| {
        is_containers(pod, own, read.then_some(children.as_slice()), page_size).then(|| Setting {
            cgroup: own.cgroup.clone(),
            limit_bytes: own.limit_bytes.unwrap_or(pod),
        })
    });
    if incident.setting.is_some() {
        incident.scope = Scope::Container;
    }
    incident.holders = rank_holders(children, pod);
}

/// The largest, largest first: of those that hold more than a sandbox does, and than a 64th of `whole`.
pub(crate) fn rank_holders(mut holders: Vec<Holder>, whole: u64) -> Vec<Holder> {
    holders.retain(|holder| holder.usage_bytes > SANDBOX.max(whole / 64));
    holders.sort_by_key(|holder| Reverse(holder.usage_bytes));
    holders.truncate(HOLDERS);
    holders
}

/// Adds the memory that the victim's pod, container or cgroup held at the kill to the holders of a shared
/// limit or of the node: by now it may have been given back.
pub(crate) fn add_victim_holder(
    incident: &mut Incident,
    killed: &[Victim],
    node: &NodeRoot,
    page_size: u64,
) {
    if !matches!(incident.scope, Scope::Ancestor | Scope::Node) {
        return;
    }
    let victim = victim_path(killed);
    let own = victim.map(|path| {
        // As the node sees it: where it is a container itself, what runs in it is not all of that.
        let below = node.path_on_node(path).unwrap_or(path);
        let owners = Owners::from_path(below);
        let own = owners.pod.or(owners.container).unwrap_or(below);
        let above = path.len().saturating_sub(below.len());
        path.get(..above.saturating_add(own.len())).unwrap_or(path)
    });
    let own = own.filter(|own| incident.limit_cgroup.as_deref() != Some(own));
    let level = own.and_then(|own| Some((own, level_of(killed, own)?)));
    let holder = level.map(|(own, level)| holder_at_kill(own, level, page_size));
    incident.holders.extend(holder);
}

fn holder_at_kill(cgroup: &str, level: Level, page_size: u64) -> Holder {
    Holder {
        cgroup: cgroup.to_owned(),
        usage_bytes: level.usage_pages.saturating_mul(page_size),
        limit_bytes: level_limit_bytes(&level, page_size),
        ..Holder::default()
    }
}

/// Merges the victim's holder, as of the kill, into the holders that were read since: it is within one of
/// them, or some are within it.
pub(crate) fn merge_victim_holder(holders: &mut Vec<Holder>, own: Holder) {
    let above = |holder: &&mut Holder| is_within(&own.cgroup, &holder.cgroup);
    match holders.iter_mut().find(above) {
        Some(whole) if whole.cgroup != own.cgroup => {
            whole.usage_bytes = whole.usage_bytes.max(own.usage_bytes);
        }
        _ => {
            holders.retain(|holder| !is_within(&holder.cgroup, &own.cgroup));
            holders.push(own);
        }
    }
}

/// Adds a process to the holder that it is within, else as a holder of its own, as for the root cgroup.
pub(crate) fn add_process(holders: &mut Vec<Holder>, process: Process, cgroup: String) {
    let within = |holder: &&mut Holder| is_within(&cgroup, &holder.cgroup);
    if let Some(holder) = holders.iter_mut().find(within) {
        holder.process = Some(process);
        return;
    }
    holders.push(Holder {
        usage_bytes: process.rss_bytes,
        cgroup,
        process: Some(process),
        ..Holder::default()
    });
}

/// Whether a pod's limit of `pod` bytes comes from its containers' limits, `own` being the victim's.
fn is_containers(pod: u64, own: &Holder, children: Option<&[Holder]>, page_size: u64) -> bool {
    let Some(limit) = own.limit_bytes else {
        return false;
    };
    let slack = SLACK_PAGES.saturating_mul(page_size).max(limit / 64);
    let is_full = limit.saturating_sub(own.usage_bytes) <= slack;
    let Some(children) = children else {
        return is_full || limit == pod;
    };
    let limits = children.iter().filter_map(|child| child.limit_bytes);
    let (sum, count) = limits.fold((0_u64, 0_u64), |(sum, count), limit| {
        (sum.saturating_add(limit), count.saturating_add(1))
    });
    // Each is rounded to pages by itself.
    let is_sum = sum.abs_diff(pod) <= count.saturating_mul(page_size);
    let shares = |child: &Holder| child.limit_bytes.is_none() && child.usage_bytes > SANDBOX;
    // Less than the sum: not all of its containers run now.
    is_sum || (sum < pod && is_full && !children.iter().any(shares))
}

/// Notes a limit that was set below the usage: the kernel charges nothing beyond a limit but some pages
/// that it cannot refuse. `outside`: the trigger is in no cgroup below the limit, like a process that
/// writes a limit, in whose context `out_of_memory` then runs.
pub(crate) fn detect_lowered_limit(incident: &mut Incident, killed: &[Victim], outside: bool) {
    let level = incident.limit_cgroup.as_deref();
    let Some(level) = level.and_then(|cgroup| level_of(killed, cgroup)) else {
        return;
    };
    let excess = level.usage_pages.saturating_sub(level.max_pages);
    incident.limit_lowered = excess > if outside { 0 } else { SLACK_PAGES };
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;
    const MIB: u64 = 1 << 20;
    const POD: &str = "/kubepods/pod6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";
    /// MiB held, and the limit.
    type Figures = (u64, Option<u64>);

    fn container(n: u64) -> String {
        format!("{POD}/17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b05{n:08x}")
    }

    fn child(n: u64, (mib, limit): Figures) -> Holder {
        Holder {
            cgroup: container(n),
            usage_bytes: mib * MIB,
            limit_bytes: limit.map(|mib| mib * MIB),
            ..Holder::default()
        }
    }

    fn level((mib, limit): Figures) -> Level {
        let pages = MIB / PAGE;
        Level {
            usage_pages: mib * pages,
            max_pages: limit.map_or(i64::MAX.unsigned_abs() / PAGE, |mib| mib * pages),
            ..Level::default()
        }
    }

    fn killed(own: Figures, pod: Figures) -> [Victim; 1] {
        [Victim {
            process: oom_capture::Process {
                cgroup: Some(container(1)),
                ..oom_capture::Process::default()
            },
            levels: vec![level(own), level(pod)],
            ..Victim::default()
        }]
    }

    fn of_pod(mib: u64) -> Incident {
        Incident {
            scope: Scope::Pod,
            limit_bytes: Some(mib * MIB),
            limit_cgroup: Some(POD.to_owned()),
            ..Incident::default()
        }
    }

    #[test]
    fn a_pods_limit_is_its_containers_where_it_is_their_sum() {
        // The pod's limit, the victim's container, the others; the container's setting.
        let sandbox = (0, None);
        let check = |pod: u64, own: Figures, others: Option<&[Figures]>, setting: Option<u64>| {
            let mut incident = of_pod(pod);
            let others = others.map(|others| {
                let mut all: Vec<_> = (2..).zip(others).map(|(n, it)| child(n, *it)).collect();
                // Read after the kill: it holds nothing any more.
                all.push(child(1, (0, own.1)));
                all
            });
            let case = format!("{pod} {own:?} {others:?}");
            choose_setting(&mut incident, &killed(own, (pod, Some(pod))), others, PAGE);
            let scope = setting.map_or(Scope::Pod, |_| Scope::Container);
            assert_eq!(incident.scope, scope, "{case}");
            let expected = setting.map(|mib| Setting {
                cgroup: container(1),
                limit_bytes: mib * MIB,
            });
            assert_eq!(incident.setting, expected, "{case}");
            assert_eq!(incident.limit_bytes, Some(pod * MIB), "{case}");
            assert_eq!(incident.limit_cgroup.as_deref(), Some(POD), "{case}");
        };
        // One limited container, and where its volume was filled by an init container that has gone.
        check(48, (48, Some(48)), Some(&[sandbox]), Some(48));
        check(96, (56, Some(96)), Some(&[sandbox]), Some(96));
        // Two limited ones, both full or one.
        check(
            128,
            (64, Some(64)),
            Some(&[(63, Some(64)), sandbox]),
            Some(64),
        );
        check(
            128,
            (30, Some(64)),
            Some(&[(63, Some(64)), sandbox]),
            Some(64),
        );
        // An init container beside a larger sum of the others; one that is the largest of all.
        check(128, (63, Some(64)), Some(&[sandbox]), Some(64));
        check(128, (20, Some(64)), Some(&[sandbox]), None);
        // A limit of the pod's own: the kubelet gives it to containers without one, too.
        check(
            128,
            (100, Some(128)),
            Some(&[(27, Some(128)), sandbox]),
            None,
        );
        check(128, (100, None), Some(&[(27, None), sandbox]), None);
        check(96, (51, Some(52)), Some(&[(44, None)]), None);
        // An ephemeral container has no limit.
        check(64, (40, None), Some(&[(23, Some(64)), sandbox]), None);
        // Nothing but the victim's own levels is known.
        check(48, (48, Some(48)), None, Some(48));
        check(96, (56, Some(96)), None, Some(96));
        check(128, (63, Some(64)), None, Some(64));
        check(128, (20, Some(64)), None, None);
        check(128, (100, None), None, None);
    }

    #[test]
    fn limits_are_rounded_to_pages_each() {
        let mut incident = of_pod(128);
        incident.limit_bytes = Some(128 * MIB - PAGE);
        let mut others = vec![child(2, (64, Some(64)))];
        others[0].limit_bytes = Some(64 * MIB - 2 * PAGE);
        let killed = killed((40, Some(64)), (128, Some(128)));
        choose_setting(&mut incident, &killed, Some(others), PAGE);
        assert_eq!(incident.scope, Scope::Container);
    }

    #[test]
    fn holders_are_ranked_largest_first() {
        let mut incident = of_pod(256);
        let others = vec![
            child(2, (120, None)),
            child(3, (3, None)),
            child(4, (0, None)),
        ];
        choose_setting(
            &mut incident,
            &killed((100, None), (256, None)),
            Some(others),
            PAGE,
        );
        assert_eq!(
            incident.holders,
            [child(2, (120, None)), child(1, (100, None))]
        );
        let many = (0..100).map(|n| child(n, (5 + n, None))).collect();
        let ranked = rank_holders(many, 0);
        assert_eq!(ranked.len(), HOLDERS);
        assert_eq!(ranked[0].usage_bytes, 104 * MIB);
    }

    #[test]
    fn a_shared_limit_lists_the_victims_pod_as_of_the_kill() {
        let killed = killed((5, None), (40, Some(64)));
        for (scope, cgroup, is_added) in [
            (Scope::Node, None, true),
            (Scope::Ancestor, Some("/kubepods"), true),
            (Scope::Ancestor, Some(POD), false),
            (Scope::Container, Some("/kubepods"), false),
        ] {
            let mut incident = Incident {
                scope,
                limit_cgroup: cgroup.map(str::to_owned),
                ..Incident::default()
            };
            add_victim_holder(&mut incident, &killed, &NodeRoot::default(), PAGE);
            let own = Holder {
                cgroup: POD.to_owned(),
                ..child(1, (40, Some(64)))
            };
            let expected: Vec<_> = is_added.then_some(own).into_iter().collect();
            assert_eq!(incident.holders, expected, "{scope:?} {cgroup:?}");
        }
    }

    #[test]
    fn on_a_node_that_is_a_container_a_victim_of_its_own_is_not_all_of_it() {
        let node = format!("/docker/{}", "e62ef4349cc5a70f".repeat(4));
        let path = format!("{node}/system.slice/a.service");
        let killed = [Victim {
            process: oom_capture::Process {
                cgroup: Some(path.clone()),
                ..oom_capture::Process::default()
            },
            levels: vec![level((5, None)), level((6, None)), level((90, None))],
            ..Victim::default()
        }];
        let mut incident = Incident {
            scope: Scope::Node,
            ..Incident::default()
        };
        add_victim_holder(&mut incident, &killed, &NodeRoot::new(&node), PAGE);
        let actual: Vec<_> = incident
            .holders
            .iter()
            .map(|own| own.cgroup.as_str())
            .collect();
        assert_eq!(actual, [path]);
    }

    #[test]
    fn nested_holders_are_listed_once() {
        let holder = |cgroup: &str, mib: u64| Holder {
            cgroup: cgroup.to_owned(),
            usage_bytes: mib * MIB,
            ..Holder::default()
        };
        let merged = |own: Holder| {
            let mut holders = vec![
                holder("/a.service", 9),
                holder("/c/x", 3),
                holder("/c/y", 4),
            ];
            merge_victim_holder(&mut holders, own);
            let figures = holders
                .iter()
                .map(|it| (it.cgroup.clone(), it.usage_bytes / MIB));
            figures.collect::<Vec<_>>()
        };
        let expected = |all: &[(&str, u64)]| -> Vec<(String, u64)> {
            all.iter()
                .map(|(path, mib)| ((*path).to_owned(), *mib))
                .collect()
        };
        let (x, y) = (("/c/x", 3), ("/c/y", 4));
        assert_eq!(
            merged(holder("/a.service/b", 12)),
            expected(&[("/a.service", 12), x, y])
        );
        assert_eq!(
            merged(holder("/c", 11)),
            expected(&[("/a.service", 9), ("/c", 11)])
        );
        assert_eq!(
            merged(holder("/c/x", 5)),
            expected(&[("/a.service", 9), y, ("/c/x", 5)])
        );
    }

    #[test]
    fn a_process_is_added_to_the_cgroup_it_is_in() {
        let process = Process {
            pid: 9,
            rss_bytes: 5 * MIB,
            ..Process::default()
        };
        let mut holders = vec![child(1, (4, None)), child(2, (3, None))];
        add_process(&mut holders, process.clone(), format!("{}/x", container(2)));
        assert_eq!(holders[1].process.as_ref(), Some(&process));
        add_process(&mut holders, process.clone(), "/".to_owned());
        let root = holders.pop().unwrap();
        assert_eq!((root.cgroup.as_str(), root.usage_bytes), ("/", 5 * MIB));
        assert_eq!(root.process, Some(process));
        assert_eq!(holders.len(), 2);
    }

    #[test]
    fn other_limits_than_a_pods_are_left_alone() {
        for scope in [
            Scope::Container,
            Scope::Ancestor,
            Scope::Nested,
            Scope::Unknown,
        ] {
            let mut incident = Incident {
                scope,
                ..of_pod(48)
            };
            let before = incident.clone();
            choose_setting(
                &mut incident,
                &killed((48, Some(48)), (48, Some(48))),
                None,
                PAGE,
            );
            assert_eq!(incident, before);
        }
    }

    #[test]
    fn a_limit_below_what_is_in_use_was_lowered() {
        // MiB of the pod's usage and limit, whether the trigger is outside of it.
        for (pod, outside, lowered) in [
            ((60, Some(48)), true, true),
            // The writer has gone, and a process in it has charged since.
            ((60, Some(48)), false, true),
            ((49, Some(48)), true, true),
            // What the kernel could not refuse.
            ((49, Some(48)), false, false),
            ((48, Some(48)), true, false),
            ((48, None), true, false),
        ] {
            let mut incident = of_pod(48);
            detect_lowered_limit(&mut incident, &killed((40, Some(48)), pod), outside);
            assert_eq!(incident.limit_lowered, lowered, "{pod:?}, {outside}");
        }
    }

    #[test]
    fn a_limit_holds_the_cgroups_below_it() {
        let incident = of_pod(48);
        assert!(incident.limit_holds(POD) && incident.limit_holds(&container(1)));
        assert!(!incident.limit_holds("/") && !incident.limit_holds("/kubepods"));
        assert!(!Incident::default().limit_holds(POD));
    }
}
