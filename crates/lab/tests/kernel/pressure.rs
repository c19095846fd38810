//! What containers use of their limits, before anything is killed.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{Agent, Cgroup, Output, limit, wait};

use super::{HOG, Running};
use crate::support::admin::{Admin, LISTEN};
use crate::support::{MIB, SOON, agent_bin};

fn sampling(period: &str) -> (Agent, Admin) {
    let args = [&["--no-kubernetes", "--sample", period][..], &LISTEN].concat();
    let mut agent = Agent::start(&agent_bin(), &args, &[]).unwrap();
    let admin = Admin::of_agent(&mut agent);
    (agent, admin)
}

fn series(figure: &str, container: &str) -> String {
    format!(
        r#"oom_agent_container_memory_{figure}_bytes{{namespace="",pod="",container="{container}"}}"#
    )
}

/// Scrapes until it is in between, and gives it.
fn until_between(admin: Admin, name: &str, least: u64, most: u64) -> u64 {
    wait::until(name, SOON, || {
        let value = bytes(admin.series(name)?);
        (least..=most).contains(&value).then_some(value)
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", admin.get("/metrics").1))
}

/// A figure of Prometheus' that was a whole number.
fn bytes(value: f64) -> u64 {
    format!("{value:.0}").parse().unwrap()
}

/// In a container, waiting to eat.
fn hog(cgroup: &Cgroup, mib: &str) -> (Running, Output) {
    let mut hog = Running::spawn(
        cgroup
            .command(HOG)
            .args(["hog", "--mib", mib, "--gate", "--hold"]),
    );
    let mut output = hog.output();
    output
        .find("ready", SOON, |line| (line == "ready").then_some(()))
        .unwrap();
    (hog, output)
}

fn go(hog: &mut Running) {
    let stdin = hog.0.stdin.as_mut().unwrap();
    stdin.write_all(b"\n").unwrap();
}

#[test]
fn a_container_is_watched_from_its_first_to_its_last_moment() {
    let (_agent, admin) = sampling("1s");
    let (cgroup, id) = Cgroup::of_container(256 * MIB).unwrap();
    let (mut eater, _said) = hog(&cgroup, "100");
    let usage = series("usage", &id);
    until_between(admin, &usage, 0, 90 * MIB);
    go(&mut eater);
    until_between(admin, &usage, 100 * MIB, 256 * MIB);
    let working_set = until_between(admin, &series("working_set", &id), 100 * MIB, 256 * MIB);
    assert!(working_set <= bytes(admin.series(&usage).unwrap()) + MIB);
    until_between(admin, &series("limit", &id), 256 * MIB, 256 * MIB);
    limit(cgroup.path(), 200 * MIB).unwrap();
    until_between(admin, &series("limit", &id), 200 * MIB, 200 * MIB);
    drop(cgroup);
    wait::until("the end of its series", SOON, || {
        admin.series(&usage).is_none().then_some(())
    })
    .unwrap();
}

#[test]
fn one_that_is_there_before_the_agent_is_watched_too_and_off_is_off() {
    let (_cgroup, id) = Cgroup::of_container(64 * MIB).unwrap();
    let (_agent, admin) = sampling("1s");
    let limit = series("limit", &id);
    until_between(admin, &limit, 64 * MIB, 64 * MIB);
    let (_agent, off) = sampling("off");
    assert_eq!(off.series(&limit), None);
    assert_eq!(off.series("oom_agent_watched_containers"), Some(0.0));
    until_between(admin, "oom_agent_sampler_passes_total", 2, u64::MAX);
    assert_eq!(off.series("oom_agent_sampler_passes_total"), Some(0.0));
}

/// With a minute between passes only the kernel's word can be the reason for a look.
#[test]
fn what_crosses_a_mark_is_seen_before_the_next_pass() {
    let (_agent, admin) = sampling("60s");
    let (cgroup, id) = Cgroup::of_container(128 * MIB).unwrap();
    let (mut eater, mut output) = hog(&cgroup, "100");
    let usage = series("usage", &id);
    until_between(admin, &usage, 0, 60 * MIB);
    go(&mut eater);
    output
        .find("touched", SOON, |line| {
            line.starts_with("touched").then_some(())
        })
        .unwrap();
    until_between(admin, &usage, 95 * MIB, 128 * MIB);
    assert!(
        admin
            .series("oom_agent_sampler_looks_between_total")
            .unwrap()
            > 0.0
    );
}

/// As in the `DaemonSet`, where nothing can be written to a cgroup.
#[test]
fn where_marks_cannot_be_set_passes_and_growth_do_without() {
    let dir = tempfile::tempdir().unwrap();
    let agent = dir.path().join("agent");
    let script = format!(
        "#!/bin/sh\nexec unshare --mount --propagation=private sh -c '\
            for at in /sys/fs/cgroup /sys/fs/cgroup/memory; do\n\
                [ ! -e $at/cgroup.procs ] || mount -o remount,bind,ro $at || exit\n\
            done\n\
            exec \"$0\" \"$@\"' {} \"$@\"\n",
        agent_bin().display()
    );
    std::fs::write(&agent, script).unwrap();
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).unwrap();
    let args = [&["--no-kubernetes"][..], &LISTEN].concat();
    let mut agent = Agent::start(&agent, &args, &[]).unwrap();
    let admin = Admin::of_agent(&mut agent);
    let hogs: Vec<_> = (0..2)
        .map(|_| {
            let (cgroup, id) = Cgroup::of_container(128 * MIB).unwrap();
            let (mut eater, output) = hog(&cgroup, "100");
            until_between(admin, &series("usage", &id), 0, 60 * MIB);
            go(&mut eater);
            until_between(admin, &series("usage", &id), 95 * MIB, 128 * MIB);
            (eater, output, cgroup)
        })
        .collect();
    drop(hogs);
    agent.end();
    let never = |_: &str| None::<()>;
    let _ended = agent.log.find("its end", SOON, never);
    let warning = "no threshold notifications of cgroup v1";
    let lines = agent.log.so_far().filter(|line| line.contains(warning));
    let lines: Vec<_> = lines.collect();
    let v1 = Path::new("/sys/fs/cgroup/memory/memory.stat").exists();
    assert_eq!(lines.len(), usize::from(v1), "{lines:?}");
    assert!(
        lines.iter().all(|line| line.contains("Read-only")),
        "{lines:?}"
    );
}

/// Containers with as many marks as there can be, since half of their limits is page cache.
fn many_containers() -> (Vec<(Cgroup, String)>, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    let make = |n: u8| {
        let (cgroup, id) = Cgroup::of_container(4 * MIB).unwrap();
        let script = r#"head -c 2200000 /dev/zero > "$0""#;
        let mut fill = cgroup.command("/bin/sh");
        let fill = fill
            .args(["-c", script])
            .arg(files.path().join(n.to_string()));
        assert!(fill.status().unwrap().success());
        (cgroup, id)
    };
    ((0..40).map(make).collect(), files)
}

#[test]
fn many_containers_are_watched_at_once() {
    let (containers, _files) = many_containers();
    // Before the next sweep.
    let (_agent, admin) = sampling("60s");
    wait::until("all of them", Duration::from_secs(50), || {
        let (_, text) = admin.get("/metrics");
        let is_shown = |(_, id): &(Cgroup, String)| text.contains(&series("usage", id));
        containers.iter().all(is_shown).then_some(())
    })
    .unwrap();
}

#[test]
fn it_ends_at_once_during_any_request_to_the_kernel() {
    let (_containers, _files) = many_containers();
    let (mut agent, _admin) = sampling("1s");
    let sent = Instant::now();
    agent.end();
    assert!(sent.elapsed() < SOON, "it was killed");
}
