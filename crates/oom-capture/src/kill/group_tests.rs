//! Which kills are one incident, and that each is told once.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers of these tests are small"
)]

use oom_agent_ebpf::{InvocationEnd, Record, invoked};

use super::Kill;
use super::tests::{assembler, autopsy, autopsy_of, exit, grouped, mark};

/// Names of the limit's cgroup, leaf first, as the records have them: victims are in /kube/pod/leaf,
/// and `grouped` ones die with all of /kube.
pub(super) const LEAF: &[u8] = b"leaf\0pod\0kube\0";
const POD: &[u8] = b"pod\0kube\0";
pub(super) const KUBE: &[u8] = b"kube\0";

/// A mark of an invocation whose end will be seen, with the one trigger of these tests. The limit is
/// that of `domain`, else the node's.
pub(super) fn marked(invocation_ns: u64, stamp_ns: u64, tid: u32, domain: Option<&[u8]>) -> Record {
    let Record::Mark(mut mark) = mark(stamp_ns, tid, tid) else {
        unreachable!("a mark is a mark")
    };
    mark.invoked = invoked::CONTROL | invoked::KILLED | invoked::END_FOLLOWS;
    mark.invocation_ns = invocation_ns;
    match domain {
        None => mark.invoked |= invoked::NODE,
        Some(names) => {
            mark.invoked |= invoked::MEMCG;
            mark.memcg_names_used = names.len() as u32;
            mark.memcg_names[..names.len()].copy_from_slice(names);
        }
    }
    Record::Mark(mark)
}

pub(super) fn end(invocation_ns: u64, marks: u32, first_again: bool) -> Record {
    Record::InvocationEnd(InvocationEnd {
        kind: InvocationEnd::KIND,
        marks,
        invocation_ns,
        first_again: first_again.into(),
        pad: 0,
    })
}

/// 600 of them; the 591st is its container's first process.
fn autopsies() -> impl Iterator<Item = Record> {
    (0..600_u32).map(|n| {
        let mut autopsy = autopsy_of(50 + u64::from(n), 1 + n, 1 + n);
        autopsy.levels_used = 4;
        autopsy.levels[2].oom_group = 1;
        autopsy.ns_tgid = if n == 590 { 1 } else { 2 + n };
        Record::Autopsy(Box::new(autopsy))
    })
}

#[test]
fn a_group_of_600_is_one_incident_with_a_count_once_its_invocation_has_ended() {
    for end_first in [true, false] {
        let mut assembler = assembler();
        for n in 0..600 {
            assembler.take(marked(40, 50 + n, 1 + n as u32, Some(KUBE)), 60);
        }
        let mut told: Vec<Kill> = Vec::new();
        if end_first {
            told.extend(assembler.take(end(40, 600, true), 61));
        }
        told.extend(autopsies().flat_map(|autopsy| assembler.take(autopsy, 62)));
        if !end_first {
            // However long the kernel's console takes.
            told.extend(assembler.expire(4_000_000_000));
            assert_eq!(told, []);
            told.extend(assembler.take(end(40, 600, true), 4_000_000_001));
        }
        let [found] = told.as_slice() else {
            panic!("{} incidents", told.len())
        };
        assert_eq!((found.victims.len(), found.victim_count()), (256, 600));
        assert_eq!((found.stamp_ns, found.victims[0].process.pid), (50, 1));
        let reapers = found.victims.iter().filter(|victim| victim.is_reaper());
        assert_eq!(reapers.count(), 1, "what becomes of the container is told");
        assert_eq!(found.stamps.len(), 600);
        assert!(found.is_group());
        assert_eq!(found.counted_by_kernel(), 601);
        assert_eq!(assembler.deadline_ns(), None);
    }
}

#[test]
fn where_no_end_is_seen_a_group_of_600_ends_with_the_marks() {
    let mut assembler = assembler();
    let mut told = Vec::new();
    for (n, autopsy) in (0_u64..).zip(autopsies()) {
        let now_ns = 60 + n * 10_000_000;
        told.extend(assembler.take(mark(50 + n, 1 + n as u32, 1 + n as u32), now_ns));
        told.extend(assembler.take(autopsy, now_ns));
        told.extend(assembler.expire(now_ns));
    }
    assert_eq!(told, []);
    let told = assembler.expire(7_000_000_000);
    assert_eq!((told.len(), told[0].victim_count()), (1, 600));
    assert_eq!(told[0].counted_by_kernel(), 601, "taken for granted");
}

#[test]
fn the_count_is_the_kernels_where_records_were_lost_or_victims_not_read() {
    let mut assembler = assembler();
    assembler.take(marked(40, 50, 42, Some(KUBE)), 60);
    assembler.take(grouped(50, 42), 60);
    let Record::Mark(mut counted) = marked(40, 51, 43, Some(KUBE)) else {
        unreachable!("a mark is a mark")
    };
    counted.invoked |= invoked::COUNTED;
    assert_eq!(assembler.take(Record::Mark(counted), 60), []);
    assembler.take(end(40, 5, true), 61);
    let found = assembler.expire(2_000_000_000);
    assert_eq!((found[0].victims.len(), found[0].victim_count()), (2, 5));
    assert_eq!(found[0].victims[1].fate, super::Fate::Counted);
    // What was lost is missing in the agent's count of kills.
    assert_eq!(found[0].counted_by_kernel(), 3);
}

#[test]
fn the_kills_of_a_group_are_waited_for_as_long_as_others_are_read() {
    let mut assembler = assembler();
    for (stamp, pid) in [(50, 42), (51, 43), (52, 44)] {
        assembler.take(marked(40, stamp, pid, Some(KUBE)), 60);
    }
    assembler.take(end(40, 3, true), 60);
    for (stamp, pid, now_ns) in [(50, 42, 150_000_000), (51, 43, 600_000_000)] {
        assert_eq!(assembler.take(grouped(stamp, pid), now_ns), []);
        assert_eq!(assembler.expire(now_ns + 400_000_000), []);
    }
    let found = assembler.take(grouped(52, 44), 1_050_000_000);
    let read = found[0]
        .victims
        .iter()
        .filter(|victim| victim.fate == super::Fate::Autopsied);
    assert_eq!(read.count(), 3);
}

#[test]
fn of_a_group_the_first_victim_is_counted_as_the_kernel_did() {
    for (again, counted) in [(true, 3), (false, 2)] {
        let mut assembler = assembler();
        for (stamp, pid) in [(50, 42), (51, 43)] {
            assembler.take(marked(40, stamp, pid, Some(KUBE)), 60);
            assert_eq!(assembler.take(grouped(stamp, pid), 60), []);
        }
        let found = assembler.take(end(40, 2, again), 61);
        assert_eq!(found[0].counted_by_kernel(), counted);
    }
}

#[test]
fn a_group_reaches_up_to_the_cgroup_whose_limit_was_hit() {
    let group = |domain: Option<&[u8]>, oom_group: [u64; 4]| {
        let mut assembler = assembler();
        assembler.take(marked(40, 50, 42, domain), 60);
        let mut autopsy = autopsy_of(50, 42, 42);
        autopsy.levels_used = 4;
        for (level, group) in autopsy.levels.iter_mut().zip(oom_group) {
            level.oom_group = group;
        }
        let mut found = assembler.take(Record::Autopsy(Box::new(autopsy)), 61);
        found.extend(assembler.take(end(40, 1, false), 62));
        found[0].victims[0].group.clone()
    };
    let path = |path: &str| Some(path.to_owned());
    assert_eq!(group(Some(LEAF), [0, 1, 0, 0]), None);
    assert_eq!(group(Some(LEAF), [1, 1, 0, 0]), path("/kube/pod/leaf"));
    assert_eq!(group(Some(POD), [1, 1, 1, 0]), path("/kube/pod"));
    assert_eq!(group(Some(POD), [1, 0, 1, 0]), path("/kube/pod/leaf"));
    assert_eq!(group(None, [1, 1, 1, 0]), path("/kube"));
    // It was moved to another cgroup meanwhile: the kernel looks for no group then.
    assert_eq!(group(Some(b"other\0kube\0"), [1, 1, 0, 0]), None);
}

#[test]
fn two_limits_below_one_group_are_two_incidents() {
    let mut assembler = assembler();
    for (invocation, stamp, pid) in [(40, 50, 42), (60, 70, 43)] {
        assembler.take(marked(invocation, stamp, pid, Some(LEAF)), 80);
        let found = assembler.take(grouped(stamp, pid), 81);
        assert_eq!((found.len(), found[0].is_group()), (1, false));
        assert_eq!(found[0].counted_by_kernel(), 1);
    }
}

#[test]
fn where_out_of_memory_is_not_probed_a_group_reaches_up_to_what_is_full() {
    let mut assembler = assembler();
    for (stamp, pid) in [(50, 42), (51, 43)] {
        assembler.take(mark(stamp, pid, pid), 60);
        let mut autopsy = autopsy_of(stamp, pid, pid);
        autopsy.levels_used = 4;
        autopsy.levels[0].max_pages = 8192;
        autopsy.levels[0].usage_pages = 8190;
        autopsy.levels[2].oom_group = 1;
        // Each is told at once, by itself, though both have one trigger.
        let found = assembler.take(Record::Autopsy(Box::new(autopsy)), 61);
        assert_eq!((found.len(), found[0].is_group()), (1, false));
    }
}

#[test]
fn two_invocations_for_one_group_are_two_incidents_though_the_trigger_is_one() {
    let mut assembler = assembler();
    let mut told = Vec::new();
    for (invocation, stamp, pid) in [(40, 50, 42), (60, 70, 43)] {
        told.extend(assembler.take(marked(invocation, stamp, pid, Some(KUBE)), 80));
        told.extend(assembler.take(grouped(stamp, pid), 81));
    }
    for invocation in [40, 60] {
        told.extend(assembler.take(end(invocation, 1, true), 82));
    }
    assert_eq!(told.len(), 2);
}

#[test]
fn what_was_not_read_belongs_to_the_group_of_its_invocation() {
    for (invocation, incidents) in [(40, 1), (60, 2)] {
        let mut assembler = assembler();
        assembler.take(marked(40, 50, 42, Some(KUBE)), 60);
        assembler.take(marked(invocation, 70, 43, Some(KUBE)), 60);
        let mut told = assembler.take(grouped(50, 42), 61);
        told.extend(assembler.take(exit(70, 43), 61));
        told.extend(assembler.take(end(40, 3 - incidents, true), 62));
        assert_eq!(told.len() as u32, incidents);
    }
}

#[test]
fn kills_of_a_group_that_were_lost_are_not_waited_for() {
    let mut assembler = assembler();
    assembler.take(marked(40, 50, 42, Some(KUBE)), 60);
    assembler.take(grouped(50, 42), 61);
    assert_eq!(assembler.take(end(40, 9, true), 62), []);
    let deadline = assembler.deadline_ns().unwrap();
    assert!(deadline <= 2_000_000_000);
    assert_eq!(assembler.expire(deadline).len(), 1);
}

#[test]
fn a_process_of_which_two_threads_were_marked_dies_once() {
    let mut assembler = assembler();
    for (stamp, tid) in [(50, 42), (51, 43)] {
        let Record::Mark(mut mark) = marked(40, stamp, tid, Some(KUBE)) else {
            unreachable!("a mark is a mark")
        };
        // The short layout.
        mark.tgid = 0;
        assembler.take(Record::Mark(mark), 60);
        assembler.take(grouped(stamp, 42), 61);
    }
    let found = assembler.take(end(40, 2, false), 62);
    assert_eq!(found[0].victim_count(), 1);
    assert_eq!(found[0].counted_by_kernel(), 2);
}

#[test]
fn a_kill_is_told_once_however_long_its_victim_takes_to_end() {
    const HOUR: u64 = 3_600_000_000_000;
    for (read, last) in [
        (Some(autopsy(50, 42, 42)), exit(50, 42)),
        (None, autopsy(50, 42, 42)),
        (None, exit(50, 42)),
    ] {
        let mut assembler = assembler();
        let mut told = assembler.take(mark(50, 42, 42), 60);
        told.extend(read.into_iter().flat_map(|read| assembler.take(read, 61)));
        told.extend(assembler.expire(300_000_000));
        assert_eq!(told.len(), 1);
        // It sleeps uninterruptibly, and others are killed meanwhile.
        for n in 1..5000 {
            let stamp = HOUR + n;
            assembler.take(mark(stamp, 100, 100), stamp);
            assert_eq!(assembler.take(autopsy(stamp, 100, 100), stamp).len(), 1);
            assembler.take(exit(stamp, 100), stamp);
            assembler.expire(stamp);
        }
        assert_eq!(assembler.take(last, 2 * HOUR), []);
        assert_eq!(assembler.take(exit(50, 42), 3 * HOUR), []);
    }
}
