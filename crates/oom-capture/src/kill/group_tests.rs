//! The assembler, on the kills of groups.

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

/// A mark of an invocation with an end. The limit is that of `domain`, else the node's.
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
    Record::InvocationEnd(Box::new(InvocationEnd {
        kind: InvocationEnd::KIND,
        marks,
        invocation_ns,
        first_again: first_again.into(),
        pad: 0,
    }))
}

/// 600 autopsies; the 591st is of its container's first process.
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
fn a_group_of_600_is_one_kill_after_its_end() {
    for end_first in [true, false] {
        let mut assembler = assembler();
        for n in 0..600 {
            assembler.accept_record(marked(40, 50 + n, 1 + n as u32, Some(KUBE)), 60);
        }
        let mut kills: Vec<Kill> = Vec::new();
        if end_first {
            kills.extend(assembler.accept_record(end(40, 600, true), 61));
        }
        kills.extend(autopsies().flat_map(|autopsy| assembler.accept_record(autopsy, 62)));
        if !end_first {
            // A slow console delays the end.
            kills.extend(assembler.take_overdue(4_000_000_000));
            assert_eq!(kills, []);
            kills.extend(assembler.accept_record(end(40, 600, true), 4_000_000_001));
        }
        let [kill] = kills.as_slice() else {
            panic!("{} kills", kills.len())
        };
        assert_eq!((kill.victims.len(), kill.victim_count()), (256, 600));
        assert_eq!((kill.stamp_ns, kill.victims[0].process.pid), (50, 1));
        let reapers = kill.victims.iter().filter(|victim| victim.is_reaper());
        assert_eq!(
            reapers.count(),
            1,
            "the container's first process is listed"
        );
        assert_eq!(kill.stamps.len(), 600);
        assert!(kill.is_group());
        assert_eq!(kill.counted_by_kernel(), 601);
        assert_eq!(assembler.deadline_ns(), None);
    }
}

#[test]
fn without_an_end_a_group_of_600_is_complete_after_its_last_mark() {
    let mut assembler = assembler();
    let mut kills = Vec::new();
    for (n, autopsy) in (0_u64..).zip(autopsies()) {
        let now_ns = 60 + n * 10_000_000;
        kills.extend(assembler.accept_record(mark(50 + n, 1 + n as u32, 1 + n as u32), now_ns));
        kills.extend(assembler.accept_record(autopsy, now_ns));
        kills.extend(assembler.take_overdue(now_ns));
    }
    assert_eq!(kills, []);
    let kills = assembler.take_overdue(7_000_000_000);
    assert_eq!((kills.len(), kills[0].victim_count()), (1, 600));
    assert_eq!(
        kills[0].counted_by_kernel(),
        601,
        "the kernel counts the first victim twice"
    );
}

#[test]
fn the_count_is_the_kernels_where_records_were_lost() {
    let mut assembler = assembler();
    assembler.accept_record(marked(40, 50, 42, Some(KUBE)), 60);
    assembler.accept_record(grouped(50, 42), 60);
    let Record::Mark(mut counted) = marked(40, 51, 43, Some(KUBE)) else {
        unreachable!("a mark is a mark")
    };
    counted.invoked |= invoked::COUNTED;
    assert_eq!(assembler.accept_record(Record::Mark(counted), 60), []);
    assembler.accept_record(end(40, 5, true), 61);
    let kills = assembler.take_overdue(2_000_000_000);
    assert_eq!((kills[0].victims.len(), kills[0].victim_count()), (2, 5));
    assert_eq!(kills[0].victims[1].reading, super::Reading::Counted);
    // The two lost victims are missing here.
    assert_eq!(kills[0].counted_by_kernel(), 3);
}

#[test]
fn the_kills_of_a_group_wait_as_long_as_others_are_read() {
    let mut assembler = assembler();
    for (stamp, pid) in [(50, 42), (51, 43), (52, 44)] {
        assembler.accept_record(marked(40, stamp, pid, Some(KUBE)), 60);
    }
    assembler.accept_record(end(40, 3, true), 60);
    for (stamp, pid, now_ns) in [(50, 42, 150_000_000), (51, 43, 600_000_000)] {
        assert_eq!(assembler.accept_record(grouped(stamp, pid), now_ns), []);
        assert_eq!(assembler.take_overdue(now_ns + 400_000_000), []);
    }
    let kills = assembler.accept_record(grouped(52, 44), 1_050_000_000);
    let read = kills[0]
        .victims
        .iter()
        .filter(|victim| victim.reading == super::Reading::Autopsied);
    assert_eq!(read.count(), 3);
}

#[test]
fn the_first_victim_of_a_group_is_counted_as_the_kernel_does() {
    for (again, counted) in [(true, 3), (false, 2)] {
        let mut assembler = assembler();
        for (stamp, pid) in [(50, 42), (51, 43)] {
            assembler.accept_record(marked(40, stamp, pid, Some(KUBE)), 60);
            assert_eq!(assembler.accept_record(grouped(stamp, pid), 60), []);
        }
        let kills = assembler.accept_record(end(40, 2, again), 61);
        assert_eq!(kills[0].counted_by_kernel(), counted);
    }
}

#[test]
fn a_group_reaches_up_to_the_cgroup_whose_limit_was_hit() {
    let group = |domain: Option<&[u8]>, oom_group: [u64; 4]| {
        let mut assembler = assembler();
        assembler.accept_record(marked(40, 50, 42, domain), 60);
        let mut autopsy = autopsy_of(50, 42, 42);
        autopsy.levels_used = 4;
        for (level, group) in autopsy.levels.iter_mut().zip(oom_group) {
            level.oom_group = group;
        }
        let mut kills = assembler.accept_record(Record::Autopsy(Box::new(autopsy)), 61);
        kills.extend(assembler.accept_record(end(40, 1, false), 62));
        kills[0].victims[0].group.clone()
    };
    let path = |path: &str| Some(path.to_owned());
    assert_eq!(group(Some(LEAF), [0, 1, 0, 0]), None);
    assert_eq!(group(Some(LEAF), [1, 1, 0, 0]), path("/kube/pod/leaf"));
    assert_eq!(group(Some(POD), [1, 1, 1, 0]), path("/kube/pod"));
    assert_eq!(group(Some(POD), [1, 0, 1, 0]), path("/kube/pod/leaf"));
    assert_eq!(group(None, [1, 1, 1, 0]), path("/kube"));
    // The victim was moved to another cgroup meanwhile: the kernel finds no group then.
    assert_eq!(group(Some(b"other\0kube\0"), [1, 1, 0, 0]), None);
}

#[test]
fn two_limits_below_one_group_are_two_kills() {
    let mut assembler = assembler();
    for (invocation, stamp, pid) in [(40, 50, 42), (60, 70, 43)] {
        assembler.accept_record(marked(invocation, stamp, pid, Some(LEAF)), 80);
        let kills = assembler.accept_record(grouped(stamp, pid), 81);
        assert_eq!((kills.len(), kills[0].is_group()), (1, false));
        assert_eq!(kills[0].counted_by_kernel(), 1);
    }
}

#[test]
fn without_a_probe_a_group_reaches_up_to_the_full_cgroup() {
    let mut assembler = assembler();
    for (stamp, pid) in [(50, 42), (51, 43)] {
        assembler.accept_record(mark(stamp, pid, pid), 60);
        let mut autopsy = autopsy_of(stamp, pid, pid);
        autopsy.levels_used = 4;
        autopsy.levels[0].max_pages = 8192;
        autopsy.levels[0].usage_pages = 8190;
        autopsy.levels[2].oom_group = 1;
        // Each is a kill of its own, although both have one trigger.
        let kills = assembler.accept_record(Record::Autopsy(Box::new(autopsy)), 61);
        assert_eq!((kills.len(), kills[0].is_group()), (1, false));
    }
}

#[test]
fn two_invocations_of_one_trigger_are_two_kills() {
    let mut assembler = assembler();
    let mut kills = Vec::new();
    for (invocation, stamp, pid) in [(40, 50, 42), (60, 70, 43)] {
        kills.extend(assembler.accept_record(marked(invocation, stamp, pid, Some(KUBE)), 80));
        kills.extend(assembler.accept_record(grouped(stamp, pid), 81));
    }
    for invocation in [40, 60] {
        kills.extend(assembler.accept_record(end(invocation, 1, true), 82));
    }
    assert_eq!(kills.len(), 2);
}

#[test]
fn an_unread_victim_belongs_to_the_group_of_its_invocation() {
    for (invocation, expected) in [(40, 1), (60, 2)] {
        let mut assembler = assembler();
        assembler.accept_record(marked(40, 50, 42, Some(KUBE)), 60);
        assembler.accept_record(marked(invocation, 70, 43, Some(KUBE)), 60);
        let mut kills = assembler.accept_record(grouped(50, 42), 61);
        kills.extend(assembler.accept_record(exit(70, 43), 61));
        kills.extend(assembler.accept_record(end(40, 3 - expected, true), 62));
        assert_eq!(kills.len() as u32, expected);
    }
}

#[test]
fn a_group_does_not_wait_for_lost_kills() {
    let mut assembler = assembler();
    assembler.accept_record(marked(40, 50, 42, Some(KUBE)), 60);
    assembler.accept_record(grouped(50, 42), 61);
    assert_eq!(assembler.accept_record(end(40, 9, true), 62), []);
    let deadline = assembler.deadline_ns().unwrap();
    assert!(deadline <= 2_000_000_000);
    assert_eq!(assembler.take_overdue(deadline).len(), 1);
}

#[test]
fn a_process_with_two_marked_threads_is_one_victim() {
    let mut assembler = assembler();
    for (stamp, tid) in [(50, 42), (51, 43)] {
        let Record::Mark(mut mark) = marked(40, stamp, tid, Some(KUBE)) else {
            unreachable!("a mark is a mark")
        };
        // The short layout.
        mark.tgid = 0;
        assembler.accept_record(Record::Mark(mark), 60);
        assembler.accept_record(grouped(stamp, 42), 61);
    }
    let kills = assembler.accept_record(end(40, 2, false), 62);
    assert_eq!(kills[0].victim_count(), 1);
    assert_eq!(kills[0].counted_by_kernel(), 2);
}

#[test]
fn a_kill_is_reported_once_if_its_victim_takes_hours_to_exit() {
    const HOUR: u64 = 3_600_000_000_000;
    for (read, last) in [
        (Some(autopsy(50, 42, 42)), exit(50, 42)),
        (None, autopsy(50, 42, 42)),
        (None, exit(50, 42)),
    ] {
        let mut assembler = assembler();
        let mut kills = assembler.accept_record(mark(50, 42, 42), 60);
        kills.extend(
            read.into_iter()
                .flat_map(|read| assembler.accept_record(read, 61)),
        );
        kills.extend(assembler.take_overdue(300_000_000));
        assert_eq!(kills.len(), 1);
        // The victim sleeps uninterruptibly, and others are killed meanwhile.
        for n in 1..5000 {
            let stamp = HOUR + n;
            assembler.accept_record(mark(stamp, 100, 100), stamp);
            assert_eq!(
                assembler
                    .accept_record(autopsy(stamp, 100, 100), stamp)
                    .len(),
                1
            );
            assembler.accept_record(exit(stamp, 100), stamp);
            assembler.take_overdue(stamp);
        }
        assert_eq!(assembler.accept_record(last, 2 * HOUR), []);
        assert_eq!(assembler.accept_record(exit(50, 42), 3 * HOUR), []);
    }
}
