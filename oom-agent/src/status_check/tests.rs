//! Statuses that runtimes reported after real kills, compared with these kills.

use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Ended, Judgement, Mismatch, MismatchKind, PendingChecks, State, Status, Stored,
    UndecidedReason, sentence,
};
use crate::incident::{Container, Incident, Outcome, Pod, Scope, Victim};

const UID: &str = "a38c12e8-255a-11e9-8cd9-0007cb0b2cc8";
const FIRST: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(10);
/// All after the first.
const LATER: [Duration; 3] = [SECOND, Duration::from_secs(30), Duration::from_mins(1)];

pub(super) fn killed_at() -> Timestamp {
    "2026-11-21T09:00:00.123456789Z".parse().unwrap()
}

/// In seconds from the kill.
fn after(seconds: i64) -> Timestamp {
    killed_at() + SignedDuration::from_secs(seconds)
}

fn container(name: &str) -> Container {
    Container {
        id: name.repeat(16),
        name: Some(name.to_owned()),
        runtime: Some("containerd".to_owned()),
    }
}

fn pod() -> Pod {
    Pod {
        namespace: Some("shop".to_owned()),
        name: Some("hungry".to_owned()),
        uid: Some(UID.to_owned()),
    }
}

pub(super) fn victim(name: &str, namespace_pid: u32) -> Victim {
    Victim {
        process: oom_capture::Process {
            pid: 4242,
            comm: Some("tail".to_owned()),
            namespace_pid: Some(namespace_pid),
            cgroup: Some(format!("/kubepods/pod{UID}/{name}")),
            ..oom_capture::Process::default()
        },
        first_process: Some(namespace_pid == 1),
        container: Some(container(name)),
        pod: Some(pod()),
    }
}

pub(super) fn incident(victims: Vec<Victim>, scope: Scope) -> Arc<Incident> {
    let first = victims
        .iter()
        .any(|victim| victim.first_process == Some(true));
    Arc::new(Incident {
        scope,
        limit_bytes: Some(64 << 20),
        outcome: if first {
            Outcome::ContainerDied
        } else {
            Outcome::ChildDied
        },
        victim_count: victims.len() as u64,
        victims,
        stamp_ns: 812_345_678_901,
        ..Incident::new(
            "6f1c0a52-812345678901-4242".to_owned(),
            killed_at(),
            "node-a".to_owned(),
        )
    })
}

/// `exit`: its code and when, in seconds from the kill.
pub(super) fn status(name: &str, reason: &str, exit: Option<(i32, i64)>) -> Status {
    Status {
        container: container(name),
        pod: Some(pod()),
        state: exit.map_or(State::Running, |_| State::Exited),
        reason: reason.to_owned(),
        exit_code: exit.map_or(0, |(code, _)| code),
        created: after(-60),
        finished: exit.map(|(_, at)| after(at)),
    }
}

/// Of an agent that is older than every container.
fn pending() -> PendingChecks {
    PendingChecks::new(after(-3600))
}

/// The judgements at the first look, and at all later ones.
fn judge_twice(
    pending: &mut PendingChecks,
    incident: &Arc<Incident>,
    at: [&[Status]; 2],
) -> [Vec<Judgement>; 2] {
    let mut judged = [Vec::new(), Vec::new()];
    for (passed, more) in judge_each_look(pending, incident, |passed| {
        at[usize::from(passed > FIRST)].to_vec()
    }) {
        judged[usize::from(passed > FIRST)].extend(more);
    }
    judged
}

fn judge_each_look(
    pending: &mut PendingChecks,
    incident: &Arc<Incident>,
    at: impl Fn(Duration) -> Vec<Status>,
) -> Vec<(Duration, Vec<Judgement>)> {
    let start = Instant::now();
    assert_eq!(pending.add_incident(incident, start), 0);
    let mut judged = Vec::new();
    for passed in [FIRST].into_iter().chain(LATER) {
        let now = start + passed;
        let early = now.checked_sub(Duration::from_millis(1)).unwrap();
        assert!(pending.pop_due(early).is_none(), "looked before {passed:?}");
        while let Some(check) = pending.pop_due(now) {
            let time = after(i64::try_from(passed.as_secs()).unwrap());
            judged.push((passed, pending.judge(check, Ok(&at(passed)), now, time)));
        }
    }
    assert_eq!(pending.next_due(), None, "no timer is left");
    judged
}

fn labels(judged: &[Judgement]) -> Vec<String> {
    judged
        .iter()
        .map(|judgement| match judgement {
            Judgement::Agrees => "agrees".to_owned(),
            Judgement::Undecided(why) => <&str>::from(why).to_owned(),
            Judgement::Differs(mismatch) => format!(
                "{:?} {}",
                mismatch.verdict,
                mismatch.status.container.name.as_deref().unwrap()
            ),
        })
        .collect()
}

fn mismatch(judged: &[Judgement]) -> &Mismatch {
    match judged {
        [Judgement::Differs(mismatch)] => mismatch,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(victims: Vec<Victim>, at: [&[Status]; 2], expect: [&[&str]; 2]) {
    let judged = judge_twice(&mut pending(), &incident(victims, Scope::Pod), at);
    assert_eq!(
        judged.map(|judged| labels(&judged)),
        expect.map(<[_]>::to_vec)
    );
}

#[test]
fn a_first_process_that_is_reported_agrees() {
    // containerd and CRI-O.
    let reported = [status("main", "OOMKilled", Some((137, 0)))];
    check(
        vec![victim("main", 1)],
        [&reported, &[]],
        [&["agrees"], &[]],
    );
}

#[test]
fn right_after_a_kill_running_is_no_answer() {
    let early = [status("main", "OOMKilled", None)];
    let reported = [status("main", "OOMKilled", Some((137, 3)))];
    check(
        vec![victim("main", 1)],
        [&early, &reported],
        [&[], &["agrees"]],
    );
    check(
        vec![victim("main", 1)],
        [&early, &early],
        [&[], &["unsettled"]],
    );
}

#[test]
fn a_first_process_that_is_reported_as_an_error_is_missed() {
    // systemd's scope was collected before the runtime read its counter.
    let reported = [status("main", "Error", Some((137, 0)))];
    check(
        vec![victim("main", 1)],
        [&reported, &[]],
        // It was collected meanwhile, with this status as its last.
        [&[], &["Missed main"]],
    );
}

#[test]
fn an_end_that_is_called_oom_killed_late_is_not_missed() {
    // containerd's TaskOOM came up to 42 s after the end, on a node without memory.
    let early = [status("main", "Error", Some((137, 0)))];
    let late = [status("main", "OOMKilled", Some((137, 0)))];
    let main = incident(vec![victim("main", 1)], Scope::Pod);
    for late_at in LATER {
        let at = |passed| {
            if passed < late_at {
                early.to_vec()
            } else {
                late.to_vec()
            }
        };
        let judged = judge_each_look(&mut pending(), &main, at);
        let (last, judgements) = judged.last().unwrap();
        assert_eq!(
            (*last, labels(judgements)),
            (late_at, vec!["agrees".to_owned()])
        );
        assert!(judged.iter().rev().skip(1).all(|(_, none)| none.is_empty()));
    }
}

fn stored(name: &str, end: Option<(&str, i32)>) -> Stored {
    Stored {
        container_id: container(name).id,
        ended: end.map(|(reason, exit_code)| Ended {
            reason: reason.to_owned(),
            exit_code,
            finished: Some(after(0)),
        }),
    }
}

/// The judgements where runtime and kubelet report the same at each look.
fn judge_stored(victims: Vec<Victim>, runtime: &[Status], kubelet: &[Stored]) -> Vec<String> {
    let mut pending = pending();
    let start = Instant::now();
    pending.add_incident(&incident(victims, Scope::Pod), start);
    let mut judged = Vec::new();
    while let Some(now) = pending.next_due() {
        let check = pending.pop_due(now).unwrap();
        let statuses = check.apply_stored(runtime.to_vec(), kubelet);
        judged.extend(pending.judge(check, Ok(&statuses), now, after(2)));
    }
    labels(&judged)
}

#[test]
fn the_status_that_the_kubelet_has_stored_counts() {
    let first = || vec![victim("main", 1)];
    let killed = status("main", "OOMKilled", Some((137, 0)));
    let error = status("main", "Error", Some((137, 0)));
    // The kubelet read it before the runtime knew, and keeps that.
    assert_eq!(
        judge_stored(
            first(),
            slice::from_ref(&killed),
            &[stored("main", Some(("Error", 137)))]
        ),
        ["Missed main"]
    );
    assert_eq!(
        judge_stored(
            first(),
            slice::from_ref(&error),
            &[stored("main", Some(("OOMKilled", 137)))]
        ),
        ["agrees"]
    );
    // It has not stored the end, or knows another instance only.
    for kubelet in [
        stored("main", None),
        stored("other", None),
        stored("other", Some(("OOMKilled", 137))),
    ] {
        for runtime in [&killed, &error] {
            assert_eq!(
                judge_stored(first(), slice::from_ref(runtime), slice::from_ref(&kubelet)),
                ["unsettled"]
            );
        }
    }
    // The runtime has collected it, or does not answer.
    assert_eq!(
        judge_stored(first(), &[], &[stored("main", Some(("Error", 137)))]),
        ["Missed main"]
    );
    assert_eq!(
        judge_stored(first(), &[], &[stored("main", None)]),
        ["unsettled"]
    );
    assert_eq!(
        judge_stored(vec![victim("main", 7)], &[], &[stored("main", None)]),
        ["Missed main"]
    );
    // It runs on, and the runtime's reason will be shown.
    let runs = [status("main", "OOMKilled", None)];
    assert_eq!(
        judge_stored(vec![victim("main", 7)], &runs, &[stored("main", None)]),
        ["Missed main"]
    );
    // A sibling is shown as the kubelet has stored it.
    let idle = || status("idle", "OOMKilled", Some((143, 5)));
    let main = || stored("main", Some(("OOMKilled", 137)));
    let both = [killed.clone(), idle()];
    assert_eq!(
        judge_stored(
            first(),
            &both,
            &[main(), stored("idle", Some(("Error", 143)))]
        ),
        ["agrees"]
    );
    assert_eq!(
        judge_stored(first(), &both, &[main(), stored("idle", None)]),
        ["agrees"]
    );
    assert_eq!(
        judge_stored(
            first(),
            &both,
            &[main(), stored("idle", Some(("OOMKilled", 143)))]
        ),
        ["agrees", "Phantom idle"]
    );
}

#[test]
fn a_container_that_ends_without_an_error_is_a_phantom() {
    // singleProcessOOMKill: a child is killed, and the container's first process ends with 0.
    let ended = [status("main", "OOMKilled", Some((0, 5)))];
    for namespace_pid in [7, 1] {
        check(
            vec![victim("main", namespace_pid)],
            [&ended, &[]],
            [&["Phantom main"], &[]],
        );
    }
    let judged = judge_twice(
        &mut pending(),
        &incident(vec![victim("main", 7)], Scope::Pod),
        [&ended, &[]],
    );
    assert_eq!(
        sentence(mismatch(&judged[0])),
        "Container main is shown as OOMKilled, and that is not how it ended: it ended by itself, without an error (exit code 0). \
         Before that, tail (pid 4242) in it was OOM-killed, and the runtime counts over the container's whole life. \
         Next: see whether what it did is whole without that process; the earlier kill has an Event of its own."
    );
}

#[test]
fn a_child_of_a_container_that_runs_on_is_missed() {
    // containerd marks it, CRI-O does not: the kubelet passes on neither.
    for reason in ["OOMKilled", ""] {
        let runs = [status("main", reason, None)];
        check(
            vec![victim("main", 7)],
            [&runs, &runs],
            [&[], &["Missed main"]],
        );
    }
}

#[test]
fn a_container_that_ends_of_its_childs_death_is_judged_by_its_reason() {
    let runs = [status("main", "OOMKilled", None)];
    for (reason, code, expected) in [
        ("OOMKilled", 1, "agrees"),
        ("OOMKilled", 137, "agrees"),
        ("Error", 137, "Missed main"),
        ("Completed", 0, "Missed main"),
        ("OOMKilled", 143, "Phantom main"),
        ("OOMKilled", 0, "Phantom main"),
    ] {
        let ended = [status("main", reason, Some((code, 5)))];
        check(vec![victim("main", 7)], [&runs, &ended], [&[], &[expected]]);
    }
}

#[test]
fn an_idle_sibling_that_is_called_killed_is_a_phantom() {
    // containerd 1.6, 1.7 and 2.1, at a pod's limit.
    let dead = status("main", "OOMKilled", Some((137, 0)));
    for idle in [
        status("idle", "OOMKilled", None),
        status("idle", "OOMKilled", Some((143, 5))),
    ] {
        let both = [dead.clone(), idle];
        check(
            vec![victim("main", 1)],
            [&both, &both],
            [&["agrees"], &["Phantom idle"]],
        );
    }
    // CRI-O marks the container with the victim.
    let both = [dead, status("idle", "", None)];
    check(vec![victim("main", 1)], [&both, &[]], [&["agrees"], &[]]);
}

#[test]
fn a_sibling_that_ended_long_before_is_left_alone() {
    let both = [
        status("main", "OOMKilled", Some((137, 0))),
        status("setup", "OOMKilled", Some((137, -30))),
    ];
    check(vec![victim("main", 1)], [&both, &both], [&["agrees"], &[]]);
}

#[test]
fn a_container_with_a_victim_of_another_incident_is_no_phantom() {
    let both = [
        status("main", "OOMKilled", Some((137, 0))),
        status("idle", "OOMKilled", None),
    ];
    let idle = incident(vec![victim("idle", 7)], Scope::Container);
    let main = incident(vec![victim("main", 1)], Scope::Pod);
    // Killed before, or between the looks: its record may come late.
    let mut pending = pending();
    pending.add_incident(&idle, Instant::now());
    while pending.pop_due(Instant::now() + SECOND).is_some() {}
    let judged = judge_twice(&mut pending, &main, [&both, &[]]);
    assert_eq!(labels(&judged[0]), ["agrees"]);

    let mut pending = self::pending();
    let start = Instant::now();
    pending.add_incident(&main, start);
    let check = pending.pop_due(start + FIRST).unwrap();
    let first = pending.judge(check, Ok(&both), start + FIRST, after(2));
    assert_eq!(labels(&first), ["agrees"]);
    pending.add_incident(&idle, start + FIRST);
    let check = pending.pop_due(start + SECOND).unwrap();
    let last = pending.judge(check, Ok(&both), start + SECOND, after(10));
    assert_eq!(labels(&last), [""; 0]);
}

#[test]
fn a_container_whose_kill_may_have_been_missed_is_no_phantom() {
    let both = [
        status("main", "OOMKilled", Some((137, 0))),
        status("idle", "OOMKilled", None),
    ];
    let main = incident(vec![victim("main", 1)], Scope::Pod);
    // The agent began after the container did.
    let judged = judge_twice(&mut PendingChecks::new(after(-59)), &main, [&both, &both]);
    assert_eq!(labels(&judged[1]), ["unwatched"]);
    // A record was lost.
    let mut lost = pending();
    lost.mark_missed(after(-59));
    let judged = judge_twice(&mut lost, &main, [&both, &both]);
    assert_eq!(labels(&judged[1]), ["unwatched"]);
    // A victim without a known container.
    let mut unknown = victim("main", 1);
    unknown.process.cgroup = None;
    (unknown.container, unknown.pod) = (None, None);
    let main = incident(vec![victim("main", 1), unknown], Scope::Pod);
    let judged = judge_twice(&mut pending(), &main, [&both, &both]);
    assert_eq!(labels(&judged[1]), ["unwatched"]);
}

#[test]
fn a_phantom_is_reported_once() {
    let both = [
        status("main", "OOMKilled", None),
        status("idle", "OOMKilled", None),
    ];
    let main = incident(vec![victim("main", 7)], Scope::Pod);
    let mut pending = pending();
    let judged = judge_twice(&mut pending, &main, [&both, &both]);
    assert_eq!(labels(&judged[1]), ["Missed main", "Phantom idle"]);
    let judged = judge_twice(&mut pending, &main, [&both, &both]);
    assert_eq!(labels(&judged[1]), ["Missed main"]);
}

#[test]
fn a_container_that_was_started_again_goes_by_its_id() {
    let mut again = status("main", "", None);
    again.container.id = "another".to_owned();
    let dead = status("main", "OOMKilled", Some((137, 0)));
    check(
        vec![victim("main", 1)],
        [&[again.clone(), dead], &[]],
        [&["agrees"], &[]],
    );
    // The dead one is collected already.
    check(
        vec![victim("main", 1)],
        [&[again], &[]],
        [&[], &["collected"]],
    );
}

#[test]
fn a_victim_that_was_exiting_already_is_no_kill() {
    let mut exiting = Arc::unwrap_or_clone(incident(vec![victim("main", 7)], Scope::Container));
    exiting.outcome = Outcome::AlreadyExiting;
    let exiting = Arc::new(exiting);
    for (reported, expected) in [
        (status("main", "Completed", Some((0, 1))), "agrees"),
        (status("main", "OOMKilled", Some((0, 1))), "exiting"),
        // It ended before.
        (status("main", "Error", Some((1, -30))), "exiting"),
    ] {
        let judged = judge_twice(&mut pending(), &exiting, [&[reported], &[]]);
        assert_eq!(labels(&judged[0]), [expected]);
    }
}

#[test]
fn a_runtime_that_does_not_answer_is_queried_again() {
    let mut pending = pending();
    let start = Instant::now();
    pending.add_incident(&incident(vec![victim("main", 1)], Scope::Pod), start);
    let mut judged = Vec::new();
    for passed in [FIRST].into_iter().chain(LATER) {
        assert_eq!(labels(&judged), [""; 0]);
        let check = pending.pop_due(start + passed).unwrap();
        judged = pending.judge(
            check,
            Err(UndecidedReason::NoRuntime),
            start + passed,
            after(10),
        );
    }
    assert_eq!(labels(&judged), ["no-runtime"]);
    assert_eq!((pending.next_due(), pending.count_open()), (None, 0));
}

#[test]
fn checks_without_room_are_counted() {
    let mut pending = pending();
    let victims = (0..20).map(|n| victim(&format!("c{n}"), 1)).collect();
    assert_eq!(
        pending.add_incident(&incident(victims, Scope::Pod), Instant::now()),
        4
    );
    let one = incident(vec![victim("main", 1)], Scope::Pod);
    let dropped: u64 = (0..300)
        .map(|_| pending.add_incident(&one, Instant::now()))
        .sum();
    assert_eq!((dropped, pending.count_open()), (300 - 255, 16 + 255));
}

#[test]
fn a_container_without_a_pod_is_queried_by_its_id() {
    let mut victim = victim("main", 7);
    victim.pod = None;
    let mut pending = pending();
    let start = Instant::now();
    pending.add_incident(&incident(vec![victim], Scope::Container), start);
    let check = pending.pop_due(start + FIRST).unwrap();
    assert_eq!(check.pod_uid(), None);
    assert_eq!(check.container_ids(), [container("main").id]);
}

#[test]
fn the_line_is_as_documented() {
    let runs = [status("main", "OOMKilled", None)];
    let main = incident(vec![victim("main", 7)], Scope::Container);
    let judged = judge_twice(&mut pending(), &main, [&runs, &runs]);
    let mut line: Value = serde_json::to_value(mismatch(&judged[1])).unwrap();
    assert!(
        line["text"]
            .take()
            .as_str()
            .unwrap()
            .starts_with("Kubernetes does not report")
    );
    let documented = include_str!("../../../docs/incident.md");
    let (_, example) = documented.rsplit_once("```json\n").unwrap();
    let mut documented: Value = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
    assert!(documented["text"].take().is_string());
    assert_eq!(
        line,
        json!({
            "version": 1, "verdict": "missed", "incident": "6f1c0a52-812345678901-4242",
            "time": "2026-11-21T09:00:10.123456789Z", "node": "node-a",
            "container": {"id": container("main").id, "name": "main", "runtime": "containerd"},
            "pod": {"namespace": "shop", "name": "hungry", "uid": UID}, "victims": [4242],
            "status": {"state": "running", "reason": "OOMKilled", "exit_code": null, "finished_at": null},
            "text": null,
        })
    );
    let names =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&line), names(&documented));
    assert_eq!(names(&line["status"]), names(&documented["status"]));
}

#[test]
fn an_end_has_its_code_and_its_time() {
    let ended = [status("main", "Error", Some((137, 1)))];
    let main = incident(vec![victim("main", 1)], Scope::Container);
    let judged = judge_twice(&mut pending(), &main, [&ended, &[]]);
    let line = serde_json::to_value(mismatch(&judged[1])).unwrap();
    assert_eq!(
        line["status"],
        json!({"state": "exited", "reason": "Error", "exit_code": 137,
            "finished_at": "2026-11-21T09:00:01.123456789Z"})
    );
}

#[test]
fn the_sentences() {
    let describe = |victims: Vec<Victim>, statuses: &[Status]| {
        let judged = judge_twice(
            &mut pending(),
            &incident(victims, Scope::Pod),
            [statuses; 2],
        )
        .concat();
        let differs = |judgement: &Judgement| matches!(judgement, Judgement::Differs(_));
        let judged: Vec<Judgement> = judged.into_iter().filter(differs).collect();
        sentence(mismatch(&judged))
    };
    assert_eq!(
        describe(
            vec![victim("main", 7)],
            &[status("main", "OOMKilled", None)]
        ),
        "Kubernetes does not report this kill: tail (pid 4242) in container main was OOM-killed, and the container runs on; \
         its status shows neither the kill nor a restart. The runtime has marked the container, though: when it ends, \
         for whatever reason, it will be shown as OOMKilled. \
         Next: see whether main works without that process; nothing restarts it but main itself or a liveness probe."
    );
    assert_eq!(
        describe(
            vec![victim("main", 1)],
            &[status("main", "Error", Some((137, 0)))]
        ),
        "Kubernetes does not report this kill: tail (pid 4242) in container main was OOM-killed, and its status is Error \
         with exit code 137, not OOMKilled. Next: take this end for an OOM kill, not for a fault of the program."
    );
    let dead = status("main", "OOMKilled", Some((137, 0)));
    assert_eq!(
        describe(
            vec![victim("main", 1)],
            &[dead.clone(), status("idle", "OOMKilled", None)]
        ),
        "The container runtime has marked container idle as OOMKilled, and no process of it was killed: \
         tail (pid 4242) in container main was when the pod reached its memory limit, which its containers share. \
         When idle ends, for whatever reason, Kubernetes will show OOMKilled. \
         Next: do not resize idle for this; look at the container in which a process was killed."
    );
    assert_eq!(
        describe(
            vec![victim("main", 1)],
            &[dead, status("idle", "OOMKilled", Some((143, 4)))]
        ),
        "Container idle is shown as OOMKilled, and no process of it was killed: \
         tail (pid 4242) in container main was when the pod reached its memory limit, which its containers share. \
         It was terminated (exit code 143, SIGTERM). \
         Next: do not resize idle for this; look at the container in which a process was killed."
    );
    assert_eq!(
        describe(
            vec![victim("main", 7)],
            &[status("main", "OOMKilled", Some((143, 5)))]
        ),
        "Container main is shown as OOMKilled, and that is not how it ended: it was terminated (exit code 143, SIGTERM). \
         Before that, tail (pid 4242) in it was OOM-killed, and the runtime counts over the container's whole life. \
         Next: look for who ended it; the earlier kill has an Event of its own."
    );
}

#[test]
fn hostile_names_are_escaped_and_bounded() {
    let mut hostile = victim("main", 7);
    hostile.comm = Some("\x1b[2J\n".repeat(1000));
    let mut ended = status("main", &"\x1b]0;x\x07".repeat(1000), Some((1, 1)));
    ended.container.name = Some("\u{202e}".repeat(5000));
    let judged = judge_twice(
        &mut pending(),
        &incident(vec![hostile], Scope::Container),
        [&[ended], &[]],
    );
    let mismatch = mismatch(&judged[1]);
    assert_eq!(mismatch.verdict, MismatchKind::Missed);
    let text = sentence(mismatch);
    assert!(text.len() < 1024, "{}", text.len());
    assert!(
        !text.chars().any(char::is_control) && !text.contains('\u{202e}'),
        "{text}"
    );
}
