//! Who died: the process that was chosen, and not another that has had its number, or is the first
//! one of another namespace.

use std::fs;
use std::process::{Command, Stdio};

use lab::{Agent, Cgroup, SlowFile, marks, wait};
use serde_json::{Value, json};

use super::pins::Bpffs;
use super::{HOG, Running, agent, tail};
use crate::support::{MIB, SOON, at, text};

/// Ends by itself, and is held up once `sched_process_exit` has fired (from Linux 6.16 on) by the list
/// of futexes that the kernel then walks: it lies in a file whose reads are not answered. Needs calls that
/// Rust has no safe names for: mmap, `set_robust_list`, `exit_group`.
const EXITS_SLOWLY: &str = r#"
open my $adj, ">", "/proc/self/oom_score_adj"; print $adj 1000; close $adj;
my $memory = "x";
$memory x= 50 << 20;
open my $file, "<", $ARGV[0] or die;
my $list = 0x10000000;
syscall(9, $list, 4096, 1, 0x12, fileno($file), 0) == $list or die;
syscall(273, $list, 24);
syscall(231, 0);
"#;

/// How often a number is tried for: others start processes, too.
const TRIES: usize = 10_000;

fn lines_of(agent: &mut Agent, pid: u32) -> Vec<Value> {
    let incidents = agent
        .incidents
        .so_far()
        .map(|line| serde_json::from_str(line).unwrap());
    incidents
        .filter(|incident| *at(incident, "/victims/0/pid") == json!(pid))
        .collect()
}

/// Starts a process that gets that number.
fn start_as(pid: u32, mut command: impl FnMut() -> Command) -> Running {
    for _ in 0..TRIES {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut child = command()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        if child.id() == pid {
            return Running(child);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    panic!("no process got the number {pid}");
}

#[test]
fn a_mark_ends_with_its_process_and_a_reused_pid_is_a_process_of_its_own() {
    let bpffs = Bpffs::mount();
    let mut agent = bpffs.agent();
    let cgroup = Cgroup::new(80 * MIB).unwrap();
    let mut file = SlowFile::mount().unwrap();
    let mut exits = Running::spawn(
        cgroup
            .command("perl")
            .args(["-e", EXITS_SLOWLY])
            .arg(file.path()),
    );
    let pid = exits.pid();
    file.wait_for_read(SOON).unwrap();

    // It is chosen while it ends.
    let _greedy = Running::spawn(cgroup.command(HOG).args(["hog", "--mib", "60", "--hold"]));
    let incident = agent.incident_of(pid, SOON).unwrap();
    assert_eq!(
        text(&incident, "/outcome"),
        "already-exiting",
        "{incident:#}"
    );
    file.release();
    exits.0.wait().unwrap();
    let map = bpffs.map("MARKED");
    let none_left = || (!marks(&map).unwrap().contains(&pid)).then_some(());
    wait::until("the end of the mark", SOON, none_left).unwrap();

    // A process that gets its number and ends is no incident; one that is killed is.
    let mut innocent = start_as(pid, || Command::new("true"));
    innocent.0.wait().unwrap();
    let other = Cgroup::new(16 * MIB).unwrap();
    let mut killed = start_as(pid, || {
        let mut command = other.command("sh");
        command.args(["-c", "read line; exec tail /dev/zero"]);
        command
    });
    drop(killed.0.stdin.take());
    let own = agent.incidents.find("the second kill", SOON, |line| {
        let incident: Value = serde_json::from_str(line).ok()?;
        (*at(&incident, "/victims/0/cgroup") == json!(other.path())).then_some(incident)
    });
    let own = own.unwrap();
    assert_eq!(*at(&own, "/victims/0/pid"), json!(pid));
    assert_eq!(
        *at(&own, "/victims/0/cmdline"),
        json!(["tail", "/dev/zero"])
    );
    assert_ne!(at(&own, "/id"), at(&incident, "/id"));

    let last = tail(&other);
    agent.incident_of(last.pid(), SOON).unwrap();
    assert_eq!(lines_of(&mut agent, pid).len(), 2);
}

/// Starts `tail /dev/zero` in a container's cgroup as what `unshare` runs, with `arguments` before it.
fn unshared(cgroup: &Cgroup, enters_itself: bool) -> Running {
    let tail = cgroup.command("tail");
    let mut command = if enters_itself {
        // As a runtime does: only the container's own process is in its cgroup.
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--pid", "--fork"])
            .arg(tail.get_program())
            .args(tail.get_args());
        unshare
    } else {
        let mut unshare = cgroup.command("unshare");
        unshare.args(["--pid", "--fork", "tail"]);
        unshare
    };
    Running::spawn(command.arg("/dev/zero"))
}

#[test]
fn the_first_process_is_that_of_the_containers_own_namespace() {
    let mut agent = agent();
    for (outermost, outcome) in [(true, "container-died"), (false, "child-died")] {
        let (cgroup, _) = Cgroup::of_container(32 * MIB).unwrap();
        let _unshare = unshared(&cgroup, outermost);
        let incident = agent.incident_in(cgroup.path(), SOON).unwrap();
        assert_eq!(*at(&incident, "/victims/0/namespace_pid"), json!(1));
        assert_eq!(*at(&incident, "/outcome"), json!(outcome), "{incident:#}");
        assert_eq!(*at(&incident, "/victims/0/first_process"), json!(outermost));
    }
}

#[test]
fn where_the_hosts_namespace_is_shared_only_a_child_is_known_to_be_one() {
    let mut agent = agent();
    let (cgroup, _) = Cgroup::of_container(32 * MIB).unwrap();
    let _parent = Running::spawn(
        cgroup
            .command(HOG)
            .args(["hog", "--mib", "200", "--child", "--hold"]),
    );
    let incident = agent.incident_in(cgroup.path(), SOON).unwrap();
    assert_eq!(
        *at(&incident, "/outcome"),
        json!("child-died"),
        "{incident:#}"
    );
    let (cgroup, _) = Cgroup::of_container(32 * MIB).unwrap();
    let _victim = tail(&cgroup);
    let incident = agent.incident_in(cgroup.path(), SOON).unwrap();
    assert_eq!(*at(&incident, "/outcome"), json!("unknown"), "{incident:#}");
    assert_eq!(*at(&incident, "/victims/0/first_process"), json!(null));
}
