//! Which cgroups' memory is read after a kill.

use memcg::Memory;
use oom_capture::{Victim, level_limit_bytes};

use super::scope::{level_of, victim_path};
use super::{Incident, Scope};

/// The cgroup or node whose limit was hit, and the first victim's cgroup, with the figures that the kernel
/// recorded at the kill.
pub(crate) fn memory_to_read(
    incident: &Incident,
    killed: &[Victim],
    page_size: u64,
) -> Vec<Memory> {
    let victim = victim_path(killed);
    let mut memory = Vec::new();
    if incident.scope == Scope::Node {
        memory.push(Memory::default());
    }
    memory.extend(
        incident
            .limit_cgroup
            .as_deref()
            .map(|path| memory_at_kill(path, killed, page_size)),
    );
    if let Some(path) = victim
        && incident.limit_cgroup.as_deref() != Some(path)
    {
        memory.push(memory_at_kill(path, killed, page_size));
    }
    memory
}

fn memory_at_kill(path: &str, killed: &[Victim], page_size: u64) -> Memory {
    let level = level_of(killed, path);
    let bytes = |pages: u64| pages.saturating_mul(page_size);
    Memory {
        cgroup: Some(path.to_owned()),
        usage_bytes: level.map(|level| bytes(level.usage_pages)),
        limit_bytes: level.and_then(|level| level_limit_bytes(&level, page_size)),
        // 0 where the kernel has no peak: a cgroup that was in use never has 0.
        peak_bytes: level
            .filter(|level| level.peak_pages > 0)
            .map(|level| bytes(level.peak_pages)),
        ..Memory::default()
    }
}

#[cfg(test)]
mod tests {
    use oom_agent_ebpf::Level;

    use super::*;
    use oom_capture::Process;

    fn limit(scope: Scope, cgroup: Option<&str>) -> Incident {
        Incident {
            scope,
            limit_cgroup: cgroup.map(str::to_owned),
            ..Incident::default()
        }
    }

    fn killed(cgroup: Option<&str>) -> Victim {
        let level = |usage_pages, max_pages, peak_pages| Level {
            usage_pages,
            max_pages,
            peak_pages,
            oom_group: 0,
        };
        Victim {
            process: Process {
                cgroup: cgroup.map(str::to_owned),
                ..Process::default()
            },
            levels: vec![
                level(10, 20, 15),
                level(30, 40, 0),
                level(50, i64::MAX.unsigned_abs() / 4096, 60),
            ],
            ..Victim::default()
        }
    }

    fn check(
        incident: &Incident,
        killed: &[Victim],
        expected: &[(Option<&str>, [Option<u64>; 3])],
    ) {
        let actual: Vec<_> = memory_to_read(incident, killed, 4096)
            .into_iter()
            .map(|memory| {
                let figures = [memory.usage_bytes, memory.limit_bytes, memory.peak_bytes];
                (memory.cgroup, figures)
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(path, pages)| {
                let bytes = pages.map(|pages| pages.map(|pages| pages * 4096));
                (path.map(str::to_owned), bytes)
            })
            .collect();
        assert_eq!(actual, expected);
    }

    #[test]
    fn the_limits_cgroup_comes_first_and_the_victims_only_once() {
        let victim = [killed(Some("/pod/c"))];
        let own = (Some("/pod/c"), [Some(10), Some(20), Some(15)]);
        check(&limit(Scope::Container, Some("/pod/c")), &victim, &[own]);
        check(
            &limit(Scope::Pod, Some("/pod")),
            &victim,
            &[(Some("/pod"), [Some(30), Some(40), None]), own],
        );
        check(
            &limit(Scope::Ancestor, Some("/")),
            &victim,
            &[(Some("/"), [Some(50), None, Some(60)]), own],
        );
        check(
            &limit(Scope::Node, None),
            &victim,
            &[(None, [None; 3]), own],
        );
        check(&limit(Scope::Sysrq, None), &victim, &[own]);
    }

    #[test]
    fn a_cgroup_without_recorded_figures_is_listed_to_be_read() {
        check(&limit(Scope::Unknown, None), &[killed(None)], &[]);
        check(
            &limit(Scope::Ancestor, Some("/elsewhere")),
            &[killed(Some("/pod/c"))],
            &[
                (Some("/elsewhere"), [None; 3]),
                (Some("/pod/c"), [Some(10), Some(20), Some(15)]),
            ],
        );
    }
}
