//! The assembler, as other programs use it.

use std::time::Duration;

use oom_capture::record::{CGROUP_NAMES_LEN, Exit, Mark, Record};
use oom_capture::{Assembler, AutopsyWait, Reading};

const PAGE_SIZE: u64 = 4096;

fn mark(stamp_ns: u64, pid: u32) -> Record {
    Record::Mark(Box::new(Mark {
        kind: Mark::KIND,
        tid: pid,
        tgid: pid,
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

fn exit(mark_ns: u64, pid: u32) -> Record {
    Record::Exit(Box::new(Exit {
        kind: Exit::KIND,
        tgid: pid,
        mark_ns,
        stamp_ns: mark_ns + 2,
    }))
}

#[test]
fn a_victim_that_exits_unread_is_a_kill() {
    let mut assembler = Assembler::new(PAGE_SIZE, AutopsyWait::UpTo(Duration::from_secs(1)));
    assert_eq!(assembler.deadline_ns(), None, "nothing to wait for");
    assert_eq!(assembler.accept_record(mark(100, 42), 100), []);
    assert_eq!(assembler.deadline_ns(), Some(1_000_000_100));
    let kills = assembler.accept_record(exit(100, 42), 200);
    let [kill] = kills.as_slice() else {
        panic!("{} kills", kills.len());
    };
    assert_eq!((kill.stamp_ns, kill.victim_count()), (100, 1));
    let trigger = kill.trigger.as_ref().map(|trigger| trigger.comm.as_str());
    assert_eq!(trigger, Some("allocator"));
    assert_eq!(kill.victims[0].process.pid, 42);
    assert_eq!(kill.victims[0].reading, Reading::Unseen);
    assert_eq!(
        assembler.accept_record(exit(100, 42), 300),
        [],
        "it is reported once"
    );
}
