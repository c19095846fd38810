//! What is killed while no agent runs is reported by the next one, once.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::{Agent, Cgroup, message};
use serde_json::{Value, json};

use super::start::fails;
use super::{Running, tail};
use crate::support::admin::{Admin, LISTEN};
use crate::support::{MIB, SOON, agent_bin, at};

/// A bpffs of a test's own. What is pinned there goes with it.
pub(super) struct Bpffs(tempfile::TempDir);

impl Bpffs {
    pub(super) fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "bpf", "bpf"])
            .arg(dir.path())
            .status();
        assert!(mounted.unwrap().success());
        Self(dir)
    }

    fn pins(&self) -> PathBuf {
        self.0.path().join("oom-agent")
    }

    pub(super) fn agent(&self) -> Agent {
        self.agent_with(&[])
    }

    fn agent_with(&self, more: &[&str]) -> Agent {
        let pins = self.pins();
        let args = ["--no-kubernetes", "--summary", "--pin"].map(AsRef::<OsStr>::as_ref);
        let listen = LISTEN.map(AsRef::<OsStr>::as_ref);
        let args = [&args[..], &[pins.as_os_str()], &listen[..]].concat();
        let more = more.iter().map(AsRef::<OsStr>::as_ref);
        let args: Vec<&OsStr> = args.into_iter().chain(more).collect();
        Agent::start(&agent_bin(), &args, &[]).unwrap()
    }

    /// A map that the agent has pinned.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        let layouts = listed(&self.pins());
        self.pins().join(&layouts[0]).join(name)
    }

    fn unpin(&self) {
        let removed = Command::new(agent_bin())
            .args(["unpin", "--pin"])
            .arg(self.pins())
            .output()
            .unwrap();
        assert!(removed.status.success(), "{removed:?}");
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // With the mount goes what is pinned there, also by a test that has failed.
        let _unmounted = Command::new("umount").arg(self.0.path()).status();
    }
}

fn listed(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    // Of the kernel's own, where it is built with them.
    names.retain(|name| Path::new(name).extension() != Some(OsStr::new("debug")));
    names.sort();
    names
}

/// Kills five; gives their pids once they are dead.
fn five(cgroup: &Cgroup) -> Vec<u32> {
    (0..5)
        .map(|_| {
            let mut victim = tail(cgroup);
            victim.0.wait().unwrap();
            victim.pid()
        })
        .collect()
}

/// How many lines report each, after all of one later kill's have come.
fn count_reports(agent: &mut Agent, pids: &[u32]) -> Vec<usize> {
    let after = Cgroup::new(16 * MIB).unwrap();
    let last = tail(&after);
    agent.incident_of(last.pid(), SOON).unwrap();
    pids.iter()
        .map(|pid| {
            let ours = |line: &&str| {
                let incident: Value = serde_json::from_str(line).unwrap();
                *at(&incident, "/victims/0/pid") == json!(pid)
            };
            agent.incidents.so_far().filter(ours).count()
        })
        .collect()
}

#[test]
fn kills_while_no_agent_runs_are_reported_once_by_the_next() {
    let bpffs = Bpffs::mount();
    let cgroup = Cgroup::new(32 * MIB).unwrap();
    let mut first = bpffs.agent();
    first.crash();
    let pids = five(&cgroup);

    let mut second = bpffs.agent();
    let admin = Admin::of_agent(&mut second);
    for pid in &pids {
        let incident = second.incident_of(*pid, SOON).unwrap();
        assert_eq!(*at(&incident, "/victims/0/cgroup"), json!(cgroup.path()));
        let cmdline = json!(["tail", "/dev/zero"]);
        assert_eq!(*at(&incident, "/victims/0/cmdline"), cmdline);
        let waited = json!("memory: the kill waited for the agent to be started again");
        let degraded = at(&incident, "/degraded").as_array().unwrap();
        assert!(degraded.contains(&waited), "{incident:#}");
        let unread = |reason: &Value| reason.as_str().unwrap().contains("not read");
        assert!(!degraded.iter().any(unread), "{incident:#}");
    }
    assert_eq!(count_reports(&mut second, &pids), [1; 5]);
    // Others' kills may be under way.
    admin.until("oom_agent_drift", 0.0);
    assert!(admin.series("oom_agent_incidents_waited_total") >= Some(5.0));
    second.crash();

    let mut third = bpffs.agent();
    assert_eq!(count_reports(&mut third, &pids), [0; 5]);
    third.end();
    let layouts = listed(&bpffs.pins());
    let [layout] = layouts.as_slice() else {
        panic!("{layouts:?}")
    };
    let pinned = listed(&bpffs.pins().join(layout));
    let links = pinned.iter().filter(|name| name.starts_with("link-"));
    assert!(links.count() <= 7, "one of each program: {pinned:?}");
    bpffs.unpin();
    assert_eq!(listed(bpffs.0.path()), [""; 0]);
}

#[test]
fn an_agent_that_ends_in_order_leaves_its_programs_too() {
    let bpffs = Bpffs::mount();
    let cgroup = Cgroup::new(32 * MIB).unwrap();
    bpffs.agent().end();
    let pids = five(&cgroup);
    let mut second = bpffs.agent();
    for pid in &pids {
        second.incident_of(*pid, SOON).unwrap();
    }
    assert_eq!(count_reports(&mut second, &pids), [1; 5]);
}

#[test]
fn an_incident_whose_container_is_being_looked_up_is_not_lost() {
    let bpffs = Bpffs::mount();
    let (cgroup, id) = Cgroup::of_container(32 * MIB).unwrap();
    // A runtime that takes connections and answers nothing is given half a second.
    let dir = tempfile::tempdir().unwrap();
    let silent = dir.path().join("cri.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let endpoint = format!("unix://{}", silent.display());
    let mut first = bpffs.agent_with(&["--cri-endpoint", &endpoint]);
    let admin = Admin::of_agent(&mut first);
    let mut victim = tail(&cgroup);
    victim.0.wait().unwrap();
    // A scrape takes as long as the runtime is given: by its end it has been read.
    assert_eq!(admin.get("/live").0, 200);
    let is_ours = |line: &String| line.contains(&id);
    let before = first.crash_and_read().into_iter().filter(is_ours).count();
    let mut second = bpffs.agent();
    let incident = second.incident_of(victim.pid(), SOON);
    assert_eq!((before, incident.is_ok()), (0, true));
    assert_eq!(
        *at(&incident.unwrap(), "/victims/0/container/id"),
        json!(id)
    );
}

#[test]
fn what_another_version_left_is_removed_with_a_warning() {
    let bpffs = Bpffs::mount();
    bpffs.agent().end();
    let layouts = listed(&bpffs.pins());
    let old = bpffs.pins().join("0123456789abcdef-1048576");
    fs::rename(bpffs.pins().join(&layouts[0]), &old).unwrap();
    // Not an agent's: it stays.
    let other = bpffs.pins().join("somebody");
    fs::create_dir(&other).unwrap();

    let mut agent = bpffs.agent();
    let warned = agent
        .log
        .so_far()
        .any(|line| message(line).is_some_and(|text| text.contains("another version")));
    assert!(warned);
    assert!(!old.exists() && other.exists());
    let admin = Admin::of_agent(&mut agent);
    let discarded = admin.series(r#"oom_agent_lost_total{reason="ring-discarded"}"#);
    assert_eq!(discarded, Some(1.0));
    agent.end();
    bpffs.unpin();
    assert_eq!(listed(&bpffs.pins()), ["somebody"]);
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_with_the_remedy() {
    let bpffs = Bpffs::mount();
    let run = |pins: &Path| {
        let mut command = Command::new(agent_bin());
        command.args(["run", "--no-kubernetes", "--pin"]).arg(pins);
        command
    };
    let _agent = bpffs.agent();
    let error = fails(&mut run(&bpffs.pins()));
    assert!(error.contains("end that one first"), "{error}");
    let unpin = &mut Command::new(agent_bin());
    let error = fails(unpin.args(["unpin", "--pin"]).arg(bpffs.pins()));
    assert!(error.contains("end that one first"), "{error}");
}

#[test]
fn without_a_bpffs_all_is_reported_but_what_a_restart_misses() {
    let elsewhere = tempfile::tempdir().unwrap();
    let pin = elsewhere.path().as_os_str();
    let args = ["--no-kubernetes", "--pin"].map(AsRef::<OsStr>::as_ref);
    let mut agent = Agent::start(&agent_bin(), &[&args[..], &[pin]].concat(), &[]).unwrap();
    let has_reason = |line: &str| {
        let both =
            line.contains("nothing is pinned") && line.contains("mount -t bpf bpf /sys/fs/bpf");
        both.then_some(())
    };
    agent
        .log
        .find("why nothing is pinned", SOON, has_reason)
        .unwrap();
    let cgroup = Cgroup::new(32 * MIB).unwrap();
    let mut victim = tail(&cgroup);
    agent.incident_in(cgroup.path(), SOON).unwrap();
    victim.0.wait().unwrap();
}

#[test]
fn an_agent_that_is_killed_among_kills_loses_and_doubles_nothing() {
    let bpffs = Bpffs::mount();
    let cgroup = Cgroup::new(200 * MIB).unwrap();
    let mut lines = Vec::new();
    let mut pids = Vec::new();
    for _ in 0..6 {
        let mut agent = bpffs.agent();
        let victims: Vec<Running> = (0..4).map(|_| tail(&cgroup)).collect();
        // The first is reported, the others' records are on their way.
        let first = agent.incidents.find("incident", SOON, |line| {
            let incident: Value = serde_json::from_str(line).ok()?;
            (*at(&incident, "/victims/0/cgroup") == json!(cgroup.path())).then_some(())
        });
        first.unwrap();
        lines.extend(agent.crash_and_read());
        for mut victim in victims {
            victim.0.wait().unwrap();
            pids.push(victim.pid());
        }
    }
    let mut last = bpffs.agent();
    count_reports(&mut last, &[]);
    lines.extend(last.crash_and_read());
    let of = |pid: &u32| {
        let ours = |line: &&String| {
            let incident: Value = serde_json::from_str(line).unwrap();
            *at(&incident, "/victims/0/pid") == json!(pid)
        };
        lines.iter().filter(ours).count()
    };
    let counts: Vec<usize> = pids.iter().map(of).collect();
    assert_eq!(counts, vec![1; pids.len()]);
}
