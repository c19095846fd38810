//! The assembler, on the records of one kill.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers of these tests are small"
)]

use std::time::Duration;

use oom_agent_ebpf::{
    Autopsy, CGROUP_NAMES_LEN, CMDLINE_LEN, ENVIRONMENT_LEN, Environment, Exit, LEVELS, Level,
    Mark, Record, invoked, known,
};

use super::assembler::{Assembler, AutopsyWait};
use super::{AllowedVariables, Kill, Reading, Rss, Trigger};

const PAGE: u64 = 4096;

pub(super) fn assembler() -> Assembler {
    Assembler::new(PAGE, AutopsyWait::UpTo(Duration::from_millis(200)))
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
    Record::Exit(Box::new(Exit {
        kind: Exit::KIND,
        tgid,
        mark_ns,
        stamp_ns: mark_ns + 2,
    }))
}

/// Why fields of the first victim are missing.
fn degraded(kills: &[Kill]) -> Vec<String> {
    let mut victim = kills[0].victims[0].clone();
    victim.note_missing_fields();
    victim.degraded
}

/// An autopsy in a cgroup that dies as one, two levels above the victim's own.
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
        assert_eq!(assembler.accept_record(mark(stamp, pid, pid), 60), []);
    }
    assert_eq!(assembler.accept_record(grouped(51, 43), 70), []);
    assert_eq!(assembler.accept_record(grouped(50, 42), 71), []);
    // This one was exiting: its cgroup is not known, but it has the same trigger.
    assert_eq!(assembler.accept_record(exit(52, 44), 72), []);
    let quiet = 72 + 300_000_000;
    assert_eq!(assembler.deadline_ns(), Some(quiet));
    assert_eq!(assembler.take_overdue(quiet - 1), []);
    let kills = assembler.take_overdue(quiet);
    assert_eq!(kills.len(), 1);
    let pids: Vec<u32> = kills[0].victims.iter().map(|k| k.process.pid).collect();
    assert_eq!(pids, [42, 43, 44]);
    assert_eq!(kills[0].stamp_ns, 50);
    assert_eq!(assembler.deadline_ns(), None);
}

#[test]
fn a_mark_and_its_autopsy_are_one_kill() {
    let mut assembler = assembler();
    assert_eq!(assembler.accept_record(mark(50, 42, 42), 60), []);
    let kills = assembler.accept_record(autopsy(50, 42, 42), 61);
    assert_eq!(degraded(&kills), Vec::<String>::new());
    let [kill] = kills.as_slice() else {
        panic!("{kills:?}")
    };
    assert_eq!(
        kill.trigger,
        Some(Trigger {
            pid: 7,
            comm: "allocator".to_owned()
        })
    );
    let [victim] = kill.victims.as_slice() else {
        panic!("{kills:?}")
    };
    assert_eq!(victim.reading, Reading::Autopsied);
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
        assembler.accept_record(exit(50, 42), 62),
        [],
        "the kill is reported already"
    );
    assert_eq!(assembler.deadline_ns(), None, "nothing waits");
}

#[test]
fn a_marked_thread_is_reported_as_its_process() {
    let mut assembler = assembler();
    // The short layout has the tid only.
    assembler.accept_record(mark(50, 43, 0), 60);
    let kills = assembler.accept_record(autopsy(50, 44, 42), 61);
    assert_eq!(kills.len(), 1);
    assert_eq!(kills[0].victims[0].process.pid, 42);
    assert!(kills[0].trigger.is_some());
}

#[test]
fn an_exit_completes_a_mark_without_an_autopsy() {
    let mut assembler = assembler();
    assembler.accept_record(mark(50, 42, 42), 60);
    let kills = assembler.accept_record(exit(50, 42), 61);
    let victim = &kills[0].victims[0];
    assert_eq!(
        victim.degraded,
        ["not read in its own context: no record has come before its exit"]
    );
    assert_eq!(victim.reading, Reading::Unseen);
    assert!(victim.exiting, "no record shows that it was sent SIGKILL");
}

/// A mark with these bits of the kernel's choice.
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
fn a_victim_that_was_sent_no_sigkill_was_exiting_already() {
    let check = |invoked: u32, last: Record, exiting: bool| {
        let mut assembler = assembler();
        assembler.accept_record(marked(50, 42, invoked), 60);
        let case = format!("{invoked:#x} and {last:?}");
        let kills = assembler.accept_record(last, 61);
        assert_eq!(kills[0].victims[0].exiting, exiting, "{case}");
    };
    for last in [autopsy(50, 42, 42), at_exit(50, 42), exit(50, 42)] {
        check(invoked::EXITING, last.clone(), true);
        check(invoked::KILLED, last, false);
    }
    // Where sent signals are not seen, a victim without a delivered one was exiting.
    check(0, autopsy(50, 42, 42), false);
    check(0, at_exit(50, 42), true);
}

#[test]
fn an_exiting_victim_has_no_group() {
    for (invoked, group) in [(invoked::KILLED, true), (invoked::EXITING, false)] {
        let mut assembler = assembler();
        assembler.accept_record(marked(50, 42, invoked), 60);
        assembler.accept_record(grouped(50, 42), 61);
        let kills = assembler.take_overdue(u64::MAX);
        assert_eq!(kills[0].is_group(), group);
    }
}

#[test]
fn a_kill_waits_200_ms_for_its_autopsy() {
    let mut assembler = assembler();
    assembler.accept_record(mark(50, 42, 42), 60);
    let deadline = 60 + 200_000_000;
    assert_eq!(assembler.deadline_ns(), Some(deadline));
    assert_eq!(assembler.take_overdue(deadline - 1), []);
    assert_eq!(assembler.take_overdue(deadline).len(), 1);
    assert_eq!(
        assembler.accept_record(autopsy(50, 42, 42), deadline + 1),
        [],
        "the kill is reported already"
    );
}

#[test]
fn each_unreadable_field_has_a_reason() {
    let mut assembler = assembler();
    let mut autopsy = autopsy_of(50, 42, 42);
    autopsy.known = known::COMM | known::CMDLINE;
    autopsy.cmdline_size = 5000;
    autopsy.cmdline_read = CMDLINE_LEN as u32;
    let kills = assembler.accept_record(Record::Autopsy(Box::new(autopsy)), 60);
    assert_eq!(kills[0].trigger, None, "the mark's record was lost");
    assert_eq!(
        degraded(&kills),
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
    assert_eq!(kills[0].victims[0].process.cgroup, None);
    assert_eq!(kills[0].victims[0].process.rss_bytes, None);
}

#[test]
fn a_victim_whose_signal_came_before_its_mark_is_read_at_its_exit() {
    let mut assembler = assembler();
    assembler.accept_record(mark(50, 42, 42), 60);
    let mut autopsy = autopsy_of(50, 42, 42);
    autopsy.known = known::COMM
        | known::CGROUP
        | known::NS_TGID
        | known::OOM_SCORE_ADJ
        | known::PARENT
        | known::START
        | known::UID
        | known::AT_EXIT;
    let kills = assembler.accept_record(Record::Autopsy(Box::new(autopsy)), 61);
    assert_eq!(
        kills[0].victims[0].process.cgroup.as_deref(),
        Some("/kube/pod/leaf")
    );
    assert_eq!(
        degraded(&kills),
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
fn a_victim_whose_signal_is_late_is_reported_as_the_trigger_read_it() {
    let mut assembler = assembler();
    assembler.accept_record(mark(50, 42, 42), 60);
    assert_eq!(assembler.accept_record(from_outside(50, 42), 61), []);
    let kills = assembler.take_overdue(60 + 200_000_000);
    let victim = &kills[0].victims[0];
    assert_eq!(victim.reading, Reading::Outside);
    assert_eq!(victim.process.cgroup.as_deref(), Some("/kube/pod/leaf"));
    assert_eq!(
        degraded(&kills),
        ["cmdline: its signal has not reached it in time"]
    );
    assert_eq!(
        assembler.accept_record(autopsy(50, 42, 42), 300_000_000),
        []
    );
}

pub(super) fn unconfirmed(stamp_ns: u64, pid: u32) -> Record {
    let mut autopsy = autopsy_of(stamp_ns, pid, pid);
    autopsy.known |= known::UNCONFIRMED;
    Record::Autopsy(Box::new(autopsy))
}

#[test]
fn an_autopsy_before_its_mark_waits_for_it() {
    for mark_first in [true, false] {
        let mut assembler = assembler();
        let (mark, autopsy) = (mark(50, 42, 42), unconfirmed(50, 42));
        let (first, second) = if mark_first {
            (mark, autopsy)
        } else {
            (autopsy, mark)
        };
        assert_eq!(assembler.accept_record(first, 60), []);
        let kills = assembler.accept_record(second, 61);
        assert_eq!(kills.len(), 1);
        assert!(kills[0].trigger.is_some());
        assert_eq!(degraded(&kills), Vec::<String>::new());
        assert_eq!(assembler.accept_record(from_outside(50, 42), 62), []);
        assert_eq!(assembler.accept_record(exit(50, 42), 63), []);
        assert_eq!(assembler.deadline_ns(), None);
    }
}

#[test]
fn an_early_autopsy_without_a_mark_is_reported_at_the_exit() {
    let mut assembler = assembler();
    assert_eq!(assembler.accept_record(unconfirmed(50, 42), 60), []);
    let kills = assembler.accept_record(exit(50, 42), 61);
    assert_eq!(kills[0].trigger, None);
    let victim = &kills[0].victims[0].process;
    assert_eq!(victim.cgroup.as_deref(), Some("/kube/pod/leaf"));
}

#[test]
fn a_sigkill_without_a_mark_is_no_kill() {
    let mut assembler = assembler();
    assert_eq!(assembler.accept_record(unconfirmed(50, 42), 60), []);
    assert_eq!(assembler.take_overdue(60 + 200_000_000), []);
    assert_eq!(assembler.deadline_ns(), None);
}

#[test]
fn fields_that_are_gone_at_the_exit_are_the_triggers() {
    let mut assembler = assembler();
    assembler.accept_record(mark(50, 42, 42), 60);
    assembler.accept_record(from_outside(50, 42), 61);
    let mut at_exit = autopsy_of(50, 42, 42);
    at_exit.known = known::COMM | known::CGROUP | known::AT_EXIT;
    let kills = assembler.accept_record(Record::Autopsy(Box::new(at_exit)), 62);
    let victim = &kills[0].victims[0];
    assert_eq!(victim.process.rss_bytes.unwrap().anon, 409_600);
    assert_eq!(
        degraded(&kills),
        ["cmdline: read at its exit, where this was gone already"]
    );
}

#[test]
fn without_autopsies_a_mark_is_reported_at_once() {
    let mut assembler = Assembler::new(PAGE, AutopsyWait::None);
    let kills = assembler.accept_record(mark(50, 42, 0), 60);
    assert_eq!(kills[0].victims[0].reading, Reading::Unseen);
    assert_eq!(kills[0].victims[0].process.pid, 42);
    assert_eq!(assembler.deadline_ns(), None);
}

#[test]
fn lengths_beyond_the_arrays_are_those_of_the_arrays() {
    let mut autopsy = autopsy_of(50, 42, 42);
    autopsy.cgroup_names_used = u32::MAX;
    autopsy.cmdline_read = u32::MAX;
    let kills = assembler().accept_record(Record::Autopsy(Box::new(autopsy)), 60);
    assert_eq!(
        kills[0].victims[0]
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
fn a_storm_beyond_the_capacity_loses_no_kill() {
    let mut assembler = assembler();
    let early: usize = (0..5000u32)
        .map(|n| {
            assembler
                .accept_record(mark(u64::from(n) + 1, n + 1, n + 1), 60)
                .len()
        })
        .sum();
    assert_eq!(early, 5000 - 4096);
    assert_eq!(early + assembler.take_overdue(u64::MAX).len(), 5000);
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
fn a_victim_has_its_allowed_variables() {
    let allow = AllowedVariables::new(vec!["APP*".parse().unwrap()]);
    let mut assembler = assembler().with_allowed_variables(allow);
    assembler.accept_record(mark(50, 42, 42), 60);
    let read = environment(50, b"SECRET=hunter2\0APP=a\0");
    assert_eq!(assembler.accept_record(read, 60), []);
    let kills = assembler.accept_record(autopsy(50, 42, 42), 61);
    let victim = &kills[0].victims[0];
    let expected = [("APP".to_owned(), "a".to_owned())].into();
    assert_eq!(victim.process.environment, Some(expected));
    assert!(!format!("{kills:?}").contains("hunter2"));

    assembler.accept_record(mark(70, 43, 43), 80);
    let kills = assembler.accept_record(autopsy(70, 43, 43), 81);
    let victim = &kills[0].victims[0];
    assert_eq!(victim.process.environment, None);
    let reason = "environment: not read in its own context".to_owned();
    assert!(victim.degraded.contains(&reason), "{:?}", victim.degraded);
}

#[test]
fn without_allowed_variables_an_environment_is_not_missing() {
    let mut assembler = assembler();
    assembler.accept_record(mark(50, 42, 42), 60);
    let kills = assembler.accept_record(autopsy(50, 42, 42), 61);
    let victim = &kills[0].victims[0];
    assert_eq!(victim.process.environment, None);
    assert!(!format!("{:?}", victim.degraded).contains("environment"));
}

#[test]
fn a_remembered_kill_is_not_reported_again() {
    let mut assembler = assembler();
    assembler.remember_reported([100]);
    for late in [mark(100, 9, 9), autopsy(100, 9, 9), exit(100, 9)] {
        assert_eq!(assembler.accept_record(late, 200), []);
    }
    assert_eq!(assembler.finish(), []);
    assert_eq!(assembler.accept_record(exit(300, 9), 400).len(), 1);
}

#[test]
fn the_stamp_of_a_dismissed_sigkill_is_returned_once() {
    let mut assembler = assembler();
    let mut early = autopsy_of(100, 9, 9);
    early.known |= known::UNCONFIRMED;
    assembler.accept_record(Record::Autopsy(Box::new(early)), 100);
    assembler.accept_record(mark(200, 8, 8), 100);
    assert!(assembler.take_dismissed().is_empty());
    assert_eq!(assembler.take_overdue(10_000_000_000).len(), 1);
    assert_eq!(assembler.take_dismissed(), [100]);
    assert!(assembler.take_dismissed().is_empty());
}
