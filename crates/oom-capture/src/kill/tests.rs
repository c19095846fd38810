//! What becomes of the records of one kill.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers of these tests are small"
)]

use std::time::Duration;

use oom_agent_ebpf::{
    Autopsy, CGROUP_NAMES_LEN, CMDLINE_LEN, ENVIRONMENT_LEN, Environment, Exit, LEVELS, Level,
    Mark, Record, invoked, known,
};

use super::assembler::{Assembler, Expect};
use super::{Allow, Fate, Kill, Rss, Trigger};

const PAGE: u64 = 4096;

pub(super) fn assembler() -> Assembler {
    Assembler::new(PAGE, Expect::Autopsies(Duration::from_millis(200)))
}

pub(super) fn mark(stamp_ns: u64, tid: u32, tgid: u32) -> Record {
    Record::Mark(Box::new(Mark {
        kind: Mark::KIND,
        tid,
        tgid,
        trigger_tgid: 7,
        stamp_ns,
        invocation_ns: 0,
        total_pages: 0,
        limit_pages: 0,
        trigger_comm: *b"allocator\0\0\0\0\0\0\0",
        invoked: 0,
        gfp_mask: 0,
        order: 0,
        constraint: 0,
        memcg_names_used: 0,
        memcg_names_cut: 0,
        memcg_names: [0; CGROUP_NAMES_LEN],
    }))
}

pub(super) fn autopsy_of(mark_ns: u64, tid: u32, tgid: u32) -> Autopsy {
    let mut autopsy = Autopsy {
        kind: Autopsy::KIND,
        known: !(known::AT_EXIT | known::FROM_OUTSIDE | known::UNCONFIRMED),
        tid,
        tgid,
        mark_ns,
        stamp_ns: mark_ns + 1,
        anon_pages: 100,
        file_pages: 2,
        shmem_pages: -1,
        uid: 1000,
        ns_level: 1,
        ns_tgid: 1,
        oom_score_adj: 999,
        cmdline_size: 15,
        cmdline_read: 15,
        cgroup_names_used: 14,
        cgroup_names_cut: 0,
        parent_tgid: 1,
        levels_used: 0,
        start_boot_ns: 5,
        parent_above: 3,
        reaper_above: 0,
        levels: [Level {
            max_pages: 1 << 40,
            ..Level::default()
        }; LEVELS],
        comm: *b"tail\0\0\0\0\0\0\0\0\0\0\0\0",
        cmdline: [b'x'; CMDLINE_LEN],
        cgroup_names: [b'x'; CGROUP_NAMES_LEN],
    };
    autopsy.cmdline[..15].copy_from_slice(b"tail\0/dev/zero\0");
    autopsy.cgroup_names[..14].copy_from_slice(b"leaf\0pod\0kube\0");
    autopsy
}

pub(super) fn autopsy(mark_ns: u64, tid: u32, tgid: u32) -> Record {
    Record::Autopsy(Box::new(autopsy_of(mark_ns, tid, tgid)))
}

pub(super) fn exit(mark_ns: u64, tgid: u32) -> Record {
    Record::Exit(Exit {
        kind: Exit::KIND,
        tgid,
        mark_ns,
        stamp_ns: mark_ns + 2,
    })
}

/// What is not known of the first victim.
fn degraded(found: &[Kill]) -> Vec<String> {
    let mut victim = found[0].victims[0].clone();
    victim.say_missing();
    victim.degraded
}

/// Of a cgroup that dies as one, two levels above the victim's own.
pub(super) fn grouped(mark_ns: u64, pid: u32) -> Record {
    let mut autopsy = autopsy_of(mark_ns, pid, pid);
    autopsy.levels_used = 4;
    autopsy.levels[2].oom_group = 1;
    Record::Autopsy(Box::new(autopsy))
}

#[test]
fn the_kills_of_a_group_are_one_incident_in_the_order_of_their_marks() {
    let mut assembler = assembler();
    for (stamp, pid) in [(50, 42), (51, 43), (52, 44)] {
        assert_eq!(assembler.take(mark(stamp, pid, pid), 60), []);
    }
    assert_eq!(assembler.take(grouped(51, 43), 70), []);
    assert_eq!(assembler.take(grouped(50, 42), 71), []);
    // This one was on its way out: it has no cgroup to tell its group by, but the same trigger.
    assert_eq!(assembler.take(exit(52, 44), 72), []);
    let quiet = 72 + 300_000_000;
    assert_eq!(assembler.deadline_ns(), Some(quiet));
    assert_eq!(assembler.expire(quiet - 1), []);
    let found = assembler.expire(quiet);
    assert_eq!(found.len(), 1);
    let pids: Vec<u32> = found[0].victims.iter().map(|k| k.process.pid).collect();
    assert_eq!(pids, [42, 43, 44]);
    assert_eq!(found[0].stamp_ns, 50);
    assert_eq!(assembler.deadline_ns(), None);
}

#[test]
fn a_mark_and_its_autopsy_are_one_kill() {
    let mut assembler = assembler();
    assert_eq!(assembler.take(mark(50, 42, 42), 60), []);
    let found = assembler.take(autopsy(50, 42, 42), 61);
    assert_eq!(degraded(&found), Vec::<String>::new());
    let [found] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        found.trigger,
        Some(Trigger {
            pid: 7,
            comm: "allocator".to_owned()
        })
    );
    let [victim] = found.victims.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(victim.fate, Fate::Autopsied);
    let victim = &victim.process;
    assert_eq!((victim.pid, victim.uid), (42, Some(1000)));
    assert_eq!(victim.comm.as_deref(), Some("tail"));
    assert_eq!(
        victim.cmdline.as_deref(),
        Some(["tail".to_owned(), "/dev/zero".to_owned()].as_slice())
    );
    assert_eq!(victim.cgroup.as_deref(), Some("/kube/pod/leaf"));
    assert_eq!(victim.oom_score_adj, Some(999));
    assert_eq!(
        (victim.namespace_level, victim.namespace_pid),
        (Some(1), Some(1))
    );
    assert_eq!(
        (victim.parent_pid, victim.start_boot_ns),
        (Some(1), Some(5))
    );
    assert_eq!(
        victim.rss_bytes,
        Some(Rss {
            anon: 409_600,
            file: 8192,
            shmem: 0
        })
    );
    assert_eq!(
        assembler.take(exit(50, 42), 62),
        [],
        "the exit tells nothing new"
    );
    assert_eq!(assembler.deadline_ns(), None, "nothing waits");
}

#[test]
fn a_thread_that_was_marked_is_told_as_its_process() {
    let mut assembler = assembler();
    // The short layout: a tid and nothing else.
    assembler.take(mark(50, 43, 0), 60);
    let found = assembler.take(autopsy(50, 44, 42), 61);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].victims[0].process.pid, 42);
    assert!(found[0].trigger.is_some());
}

#[test]
fn an_exit_without_an_autopsy_tells_the_mark() {
    let mut assembler = assembler();
    assembler.take(mark(50, 42, 42), 60);
    let found = assembler.take(exit(50, 42), 61);
    let victim = &found[0].victims[0];
    assert_eq!(
        victim.degraded,
        ["not read in its own context: no record has come before its exit"]
    );
    assert_eq!(victim.fate, Fate::Unseen);
    assert!(victim.exiting, "nothing tells that it was killed");
}

/// What the mark tells of the kernel's choice.
fn marked(stamp_ns: u64, pid: u32, invoked: u32) -> Record {
    let Record::Mark(mut mark) = mark(stamp_ns, pid, pid) else {
        unreachable!("a mark is a mark")
    };
    mark.invoked = invoked;
    Record::Mark(mark)
}

fn at_exit(stamp_ns: u64, pid: u32) -> Record {
    let mut autopsy = autopsy_of(stamp_ns, pid, pid);
    autopsy.known |= known::AT_EXIT;
    Record::Autopsy(Box::new(autopsy))
}

#[test]
fn a_victim_that_was_sent_no_sigkill_was_exiting_already_however_it_was_read() {
    let check = |invoked: u32, last: Record, exiting: bool| {
        let mut assembler = assembler();
        assembler.take(marked(50, 42, invoked), 60);
        let told = format!("{invoked:#x} and {last:?}");
        let found = assembler.take(last, 61);
        assert_eq!(found[0].victims[0].exiting, exiting, "{told}");
    };
    for last in [autopsy(50, 42, 42), at_exit(50, 42), exit(50, 42)] {
        check(invoked::EXITING, last.clone(), true);
        check(invoked::KILLED, last, false);
    }
    // Where signals that are sent cannot be seen, one that takes none was exiting.
    check(0, autopsy(50, 42, 42), false);
    check(0, at_exit(50, 42), true);
}

#[test]
fn a_choice_that_is_exiting_kills_no_group() {
    for (invoked, group) in [(invoked::KILLED, true), (invoked::EXITING, false)] {
        let mut assembler = assembler();
        assembler.take(marked(50, 42, invoked), 60);
        assembler.take(grouped(50, 42), 61);
        let found = assembler.expire(u64::MAX);
        assert_eq!(found[0].is_group(), group);
    }
}

#[test]
fn a_signal_that_does_not_come_is_waited_for_200_ms() {
    let mut assembler = assembler();
    assembler.take(mark(50, 42, 42), 60);
    let deadline = 60 + 200_000_000;
    assert_eq!(assembler.deadline_ns(), Some(deadline));
    assert_eq!(assembler.expire(deadline - 1), []);
    assert_eq!(assembler.expire(deadline).len(), 1);
    assert_eq!(
        assembler.take(autopsy(50, 42, 42), deadline + 1),
        [],
        "too late: told already"
    );
}

#[test]
fn what_could_not_be_read_is_said_by_field() {
    let mut assembler = assembler();
    let mut autopsy = autopsy_of(50, 42, 42);
    autopsy.known = known::COMM | known::CMDLINE;
    autopsy.cmdline_size = 5000;
    autopsy.cmdline_read = CMDLINE_LEN as u32;
    let found = assembler.take(Record::Autopsy(Box::new(autopsy)), 60);
    assert_eq!(found[0].trigger, None, "the mark's record was lost");
    assert_eq!(
        degraded(&found),
        [
            "cmdline: cut at 1024 of 5000 bytes",
            "parent_pid: not readable in this kernel",
            "namespace_pid: not readable in this kernel",
            "start_boot_ns: not readable in this kernel",
            "uid: not readable in this kernel",
            "oom_score_adj: not readable in this kernel",
            "rss_bytes: not readable in this kernel",
            "cgroup: not readable in this kernel",
        ]
    );
    assert_eq!(found[0].victims[0].process.cgroup, None);
    assert_eq!(found[0].victims[0].process.rss_bytes, None);
}

#[test]
fn a_victim_whose_signal_came_before_its_mark_is_read_at_its_exit() {
    let mut assembler = assembler();
    assembler.take(mark(50, 42, 42), 60);
    let mut autopsy = autopsy_of(50, 42, 42);
    autopsy.known = known::COMM
        | known::CGROUP
        | known::NS_TGID
        | known::OOM_SCORE_ADJ
        | known::PARENT
        | known::START
        | known::UID
        | known::AT_EXIT;
    let found = assembler.take(Record::Autopsy(Box::new(autopsy)), 61);
    assert_eq!(
        found[0].victims[0].process.cgroup.as_deref(),
        Some("/kube/pod/leaf")
    );
    assert_eq!(
        degraded(&found),
        [
            "rss_bytes: read at its exit, where this was gone already",
            "cmdline: read at its exit, where this was gone already",
        ]
    );
}

fn from_outside(mark_ns: u64, pid: u32) -> Record {
    let mut autopsy = autopsy_of(mark_ns, pid, pid);
    autopsy.known |= known::FROM_OUTSIDE;
    autopsy.known &= !known::CMDLINE;
    Record::Autopsy(Box::new(autopsy))
}

#[test]
fn a_victim_whose_signal_comes_late_is_told_as_it_was_seen_from_outside() {
    let mut assembler = assembler();
    assembler.take(mark(50, 42, 42), 60);
    assert_eq!(assembler.take(from_outside(50, 42), 61), []);
    let found = assembler.expire(60 + 200_000_000);
    let victim = &found[0].victims[0];
    assert_eq!(victim.fate, Fate::Outside);
    assert_eq!(victim.process.cgroup.as_deref(), Some("/kube/pod/leaf"));
    assert_eq!(
        degraded(&found),
        ["cmdline: its signal has not reached it in time"]
    );
    assert_eq!(assembler.take(autopsy(50, 42, 42), 300_000_000), []);
}

pub(super) fn unconfirmed(stamp_ns: u64, pid: u32) -> Record {
    let mut autopsy = autopsy_of(stamp_ns, pid, pid);
    autopsy.known |= known::UNCONFIRMED;
    Record::Autopsy(Box::new(autopsy))
}

#[test]
fn a_signal_that_outran_its_mark_waits_for_it() {
    for mark_first in [true, false] {
        let mut assembler = assembler();
        let (mark, autopsy) = (mark(50, 42, 42), unconfirmed(50, 42));
        let (first, second) = if mark_first {
            (mark, autopsy)
        } else {
            (autopsy, mark)
        };
        assert_eq!(assembler.take(first, 60), []);
        let found = assembler.take(second, 61);
        assert_eq!(found.len(), 1);
        assert!(found[0].trigger.is_some());
        assert_eq!(degraded(&found), Vec::<String>::new());
        assert_eq!(assembler.take(from_outside(50, 42), 62), []);
        assert_eq!(assembler.take(exit(50, 42), 63), []);
        assert_eq!(assembler.deadline_ns(), None);
    }
}

#[test]
fn an_early_reading_whose_mark_was_lost_is_told_at_its_exit() {
    let mut assembler = assembler();
    assert_eq!(assembler.take(unconfirmed(50, 42), 60), []);
    let found = assembler.take(exit(50, 42), 61);
    assert_eq!(found[0].trigger, None);
    let victim = &found[0].victims[0].process;
    assert_eq!(victim.cgroup.as_deref(), Some("/kube/pod/leaf"));
}

#[test]
fn a_kill_of_the_kernels_that_is_never_marked_is_no_incident() {
    let mut assembler = assembler();
    assert_eq!(assembler.take(unconfirmed(50, 42), 60), []);
    assert_eq!(assembler.expire(60 + 200_000_000), []);
    assert_eq!(assembler.deadline_ns(), None);
}

#[test]
fn what_its_own_context_has_lost_is_taken_from_outside() {
    let mut assembler = assembler();
    assembler.take(mark(50, 42, 42), 60);
    assembler.take(from_outside(50, 42), 61);
    let mut at_exit = autopsy_of(50, 42, 42);
    at_exit.known = known::COMM | known::CGROUP | known::AT_EXIT;
    let found = assembler.take(Record::Autopsy(Box::new(at_exit)), 62);
    let victim = &found[0].victims[0];
    assert_eq!(victim.process.rss_bytes.unwrap().anon, 409_600);
    assert_eq!(
        degraded(&found),
        ["cmdline: read at its exit, where this was gone already"]
    );
}

#[test]
fn where_nothing_follows_a_mark_it_is_told_at_once() {
    let mut assembler = Assembler::new(PAGE, Expect::Nothing);
    let found = assembler.take(mark(50, 42, 0), 60);
    assert_eq!(found[0].victims[0].fate, Fate::Unseen);
    assert_eq!(found[0].victims[0].process.pid, 42);
    assert_eq!(assembler.deadline_ns(), None);
}

#[test]
fn lengths_beyond_the_arrays_are_taken_as_whole() {
    let mut autopsy = autopsy_of(50, 42, 42);
    autopsy.cgroup_names_used = u32::MAX;
    autopsy.cmdline_read = u32::MAX;
    let found = assembler().take(Record::Autopsy(Box::new(autopsy)), 60);
    assert_eq!(
        found[0].victims[0]
            .process
            .cmdline
            .as_ref()
            .unwrap()
            .join(" ")
            .len(),
        CMDLINE_LEN
    );
}

#[test]
fn a_storm_beyond_the_bound_tells_the_oldest_early_and_loses_none() {
    let mut assembler = assembler();
    let told: usize = (0..5000u32)
        .map(|n| {
            assembler
                .take(mark(u64::from(n) + 1, n + 1, n + 1), 60)
                .len()
        })
        .sum();
    assert_eq!(told, 5000 - 4096);
    assert_eq!(told + assembler.expire(u64::MAX).len(), 5000);
}

fn environment(mark_ns: u64, text: &[u8]) -> Record {
    let mut bytes = [b'x'; ENVIRONMENT_LEN];
    bytes[..text.len()].copy_from_slice(text);
    Record::Environment(Box::new(Environment {
        kind: Environment::KIND,
        tgid: 42,
        mark_ns,
        size: text.len() as u32,
        read: text.len() as u32,
        bytes,
    }))
}

#[test]
fn an_environment_goes_with_its_victim_as_far_as_it_is_allowed() {
    let allow = Allow::new(vec!["APP*".parse().unwrap()]);
    let mut assembler = assembler().allowing(allow);
    assembler.take(mark(50, 42, 42), 60);
    let read = environment(50, b"SECRET=hunter2\0APP=a\0");
    assert_eq!(assembler.take(read, 60), []);
    let found = assembler.take(autopsy(50, 42, 42), 61);
    let victim = &found[0].victims[0];
    let expected = [("APP".to_owned(), "a".to_owned())].into();
    assert_eq!(victim.process.environment, Some(expected));
    assert!(!format!("{found:?}").contains("hunter2"));

    assembler.take(mark(70, 43, 43), 80);
    let found = assembler.take(autopsy(70, 43, 43), 81);
    let victim = &found[0].victims[0];
    assert_eq!(victim.process.environment, None);
    let said = "environment: not read in its own context".to_owned();
    assert!(victim.degraded.contains(&said), "{:?}", victim.degraded);
}

#[test]
fn where_nothing_is_allowed_an_environment_is_no_gap() {
    let mut assembler = assembler();
    assembler.take(mark(50, 42, 42), 60);
    let found = assembler.take(autopsy(50, 42, 42), 61);
    let victim = &found[0].victims[0];
    assert_eq!(victim.process.environment, None);
    assert!(!format!("{:?}", victim.degraded).contains("environment"));
}

#[test]
fn what_another_agent_has_told_is_not_told_again() {
    let mut assembler = assembler();
    assembler.remember([100]);
    for late in [mark(100, 9, 9), autopsy(100, 9, 9), exit(100, 9)] {
        assert_eq!(assembler.take(late, 200), []);
    }
    assert_eq!(assembler.end(), []);
    assert_eq!(assembler.take(exit(300, 9), 400).len(), 1);
}

#[test]
fn the_stamp_of_what_is_no_incident_is_told_once() {
    let mut assembler = assembler();
    let mut early = autopsy_of(100, 9, 9);
    early.known |= known::UNCONFIRMED;
    assembler.take(Record::Autopsy(Box::new(early)), 100);
    assembler.take(mark(200, 8, 8), 100);
    assert!(assembler.dismissed().is_empty());
    assert_eq!(assembler.expire(10_000_000_000).len(), 1);
    assert_eq!(assembler.dismissed(), [100]);
    assert!(assembler.dismissed().is_empty());
}
