//! This machine's kernel kills real processes; the agent reports each.
//!
//! Others' kills are reported too: every test looks for its own cgroup or pid.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

#[path = "kernel/before.rs"]
mod before;
#[path = "kernel/hub.rs"]
mod hub;
#[path = "kernel/identity.rs"]
mod identity;
#[path = "kernel/limits.rs"]
mod limits;
#[path = "kernel/load.rs"]
mod load;
#[path = "kernel/no_victim.rs"]
mod no_victim;
#[path = "kernel/people.rs"]
mod people;
#[path = "kernel/pins.rs"]
mod pins;
#[path = "kernel/pressure.rs"]
mod pressure;
#[path = "kernel/sidecar.rs"]
mod sidecar;
#[path = "kernel/start.rs"]
mod start;
mod support;
#[path = "kernel/warnings.rs"]
mod warnings;

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::{Agent, Bonker, Cgroup, Output, field, message, refusing_url};
use serde_json::json;
use support::admin::{Admin, LISTEN};
use support::{MIB, SOON, agent_bin, at, bonker_bin, text};
use xtask::process::stop;

const HOG: &str = env!("CARGO_BIN_EXE_lab");
const NO_ARGS: [&str; 0] = [];

fn agent() -> Agent {
    Agent::start(&agent_bin(), &["--no-kubernetes"], &[]).unwrap()
}

/// A child that does not outlive its test.
struct Running(Child);

impl Running {
    fn spawn(command: &mut Command) -> Self {
        Self(
            command
                .stdout(Stdio::piped())
                .stdin(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn output(&mut self) -> Output {
        Output::new("child", self.0.stdout.take().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        stop(&mut self.0, Duration::ZERO);
    }
}

/// `tail /dev/zero` wants endless memory for its first line.
fn tail(cgroup: &Cgroup) -> Running {
    Running::spawn(cgroup.command("tail").arg("/dev/zero"))
}

#[test]
fn a_killed_process_is_named() {
    let mut agent = agent();
    let cgroup = Cgroup::new(64 * MIB).unwrap();
    let victim = tail(&cgroup);
    let incident = agent.incident_of(victim.pid(), SOON).unwrap();
    assert_eq!(*at(&incident, "/version"), json!(1));
    assert_eq!(
        at(&incident, "/victims").as_array().unwrap().len(),
        1,
        "{incident:#}"
    );
    assert_eq!(*at(&incident, "/victims/0/comm"), json!("tail"));
    assert_eq!(
        *at(&incident, "/victims/0/cmdline"),
        json!(["tail", "/dev/zero"])
    );
    assert_eq!(*at(&incident, "/victims/0/cgroup"), json!(cgroup.path()));
    assert_eq!(*at(&incident, "/victims/0/uid"), json!(0));
    assert_eq!(*at(&incident, "/victims/0/oom_score_adj"), json!(0));
    assert_eq!(*at(&incident, "/victims/0/container"), json!(null));
    assert_eq!(*at(&incident, "/victims/0/pod"), json!(null));
    assert_eq!(
        *at(&incident, "/trigger"),
        json!({"pid": victim.pid(), "comm": "tail"})
    );
    assert_eq!(*at(&incident, "/outcome"), json!("unknown"));
    // The cgroup's own limit, whether the kernel passed it or it was inferred.
    assert_eq!(*at(&incident, "/scope"), json!("ancestor"));
    assert_eq!(*at(&incident, "/limit_bytes"), json!(64 * MIB));
    assert_eq!(*at(&incident, "/limit_cgroup"), json!(cgroup.path()));
    let parent = at(&incident, "/victims/0/parent_pid");
    assert_eq!(*parent, json!(std::process::id()));
    let anon = at(&incident, "/victims/0/rss_bytes/anon").as_u64().unwrap();
    assert!(
        (48 * MIB..=66 * MIB).contains(&anon),
        "{anon} bytes under a limit of 64 MiB"
    );
}

#[test]
fn what_its_memory_was_made_of_is_reported() {
    let mut agent = agent();
    let cgroup = Cgroup::new(64 * MIB).unwrap();
    // It lives on with its memory, so that this is there whenever the figures are read.
    let mut holds = Running::spawn(cgroup.command("/bin/sh").args([
        "-c",
        r#"echo -1000 > /proc/self/oom_score_adj; exec "$0" hog --mib 40 --hold"#,
        HOG,
    ]));
    holds
        .output()
        .find("memory touched", SOON, |line| {
            line.starts_with("touched").then_some(())
        })
        .unwrap();
    let victim = tail(&cgroup);
    let incident = agent.incident_of(victim.pid(), SOON).unwrap();
    let [memory] = at(&incident, "/memory").as_array().unwrap().as_slice() else {
        panic!("the limit's cgroup and the victim's are one: {incident:#}");
    };
    assert_eq!(*at(memory, "/cgroup"), json!(cgroup.path()));
    assert_eq!(*at(memory, "/limit_bytes"), json!(64 * MIB));
    for (figure, low) in [
        ("/usage_bytes", 62),
        ("/peak_bytes", 62),
        ("/stat/anon", 40),
    ] {
        let bytes = at(memory, figure).as_u64().unwrap();
        assert!(
            (low * MIB..=64 * MIB).contains(&bytes),
            "{figure} in {memory:#}"
        );
    }
}

#[test]
fn of_its_environment_only_what_is_allowed_is_reported() {
    for (args, environment) in [
        (&["--env", "APP_*,HOME"][..], json!({"APP_NAME": "hungry"})),
        (&[], json!(null)),
    ] {
        let mut agent = Agent::start(
            &agent_bin(),
            &[&["--no-kubernetes", "--log-level", "trace"], args].concat(),
            &[],
        )
        .unwrap();
        let cgroup = Cgroup::new(32 * MIB).unwrap();
        let mut command = cgroup.command("tail");
        command.arg("/dev/zero").env_clear();
        command.envs([("APP_NAME", "hungry"), ("SECRET", "hunter2-of-the-test")]);
        let victim = Running::spawn(&mut command);
        let incident = agent.incident_of(victim.pid(), SOON).unwrap();
        assert_eq!(*at(&incident, "/victims/0/environment"), environment);
        agent.end();
        let never = |_: &str| None::<()>;
        let _ended = agent.incidents.find("its end", SOON, never);
        let _ended = agent.log.find("its end", SOON, never);
        for line in agent.incidents.so_far().chain(agent.log.so_far()) {
            assert!(!line.contains("hunter2-of-the-test"), "{line}");
        }
    }
}

#[test]
fn a_cgroupfs_that_is_none_costs_the_figures_only() {
    let args = ["--no-kubernetes", "--cgroupfs", "/etc"];
    let mut agent = Agent::start(&agent_bin(), &args, &[]).unwrap();
    let cgroup = Cgroup::new(16 * MIB).unwrap();
    let victim = tail(&cgroup);
    let incident = agent.incident_of(victim.pid(), SOON).unwrap();
    assert_eq!(*at(&incident, "/memory/0/stat"), json!(null));
    assert_eq!(*at(&incident, "/memory/0/limit_bytes"), json!(16 * MIB));
    assert!(support::degraded(&incident, "memory"), "{incident:#}");
}

#[test]
fn the_victim_need_not_be_the_trigger() {
    let mut agent = agent();
    let cgroup = Cgroup::new(256 * MIB).unwrap();
    let mut idle = Running::spawn(
        cgroup
            .command("/bin/sh")
            .args([
                "-c",
                r#"echo 1000 > /proc/self/oom_score_adj; exec "$0" "$@""#,
                HOG,
            ])
            .args(["hog", "--mib", "150", "--hold"]),
    );
    idle.output()
        .find("memory touched", SOON, |line| {
            line.starts_with("touched").then_some(())
        })
        .unwrap();
    let mut greedy = Running::spawn(cgroup.command(HOG).args(["hog", "--mib", "180", "--hold"]));
    let incident = agent.incident_of(idle.pid(), SOON).unwrap();
    assert_eq!(*at(&incident, "/trigger/pid"), json!(greedy.pid()));
    assert_eq!(*at(&incident, "/victims/0/oom_score_adj"), json!(1000));
    assert_eq!(*at(&incident, "/victims/0/cgroup"), json!(cgroup.path()));
    let cmdline = json!([HOG, "hog", "--mib", "150", "--hold"]);
    assert_eq!(*at(&incident, "/victims/0/cmdline"), cmdline);
    greedy
        .output()
        .find("memory touched", SOON, |line| {
            line.starts_with("touched").then_some(())
        })
        .expect("the trigger lives on");
}

#[test]
fn a_child_is_killed_while_its_parent_lives() {
    let mut agent = agent();
    let cgroup = Cgroup::new(64 * MIB).unwrap();
    let mut parent = Running::spawn(
        cgroup
            .command(HOG)
            .args(["hog", "--mib", "200", "--child", "--hold"]),
    );
    let mut output = parent.output();
    let child: u32 = output
        .find("the child's pid", SOON, |line| {
            line.strip_prefix("child ")?.parse().ok()
        })
        .unwrap();
    let incident = agent.incident_of(child, SOON).unwrap();
    assert_eq!(*at(&incident, "/victims/0/cgroup"), json!(cgroup.path()));
    assert_eq!(
        *at(&incident, "/victims/0/cmdline"),
        json!([HOG, "hog", "--mib", "200"])
    );
    output
        .find("the child's fate", SOON, |line| {
            line.contains("signal: 9").then_some(())
        })
        .unwrap();
    assert!(parent.0.try_wait().unwrap().is_none(), "the parent lives");
}

#[test]
fn fifty_quick_kills_are_all_reported() {
    let mut agent = agent();
    let victims: Vec<(Cgroup, Running)> = (0..50)
        .map(|_| {
            let cgroup = Cgroup::new(8 * MIB).unwrap();
            let victim = tail(&cgroup);
            (cgroup, victim)
        })
        .collect();
    let mut ids = std::collections::HashSet::new();
    for (cgroup, victim) in &victims {
        let incident = agent.incident_of(victim.pid(), SOON).unwrap();
        assert_eq!(*at(&incident, "/victims/0/cgroup"), json!(cgroup.path()));
        assert_eq!(
            *at(&incident, "/victims/0/cmdline"),
            json!(["tail", "/dev/zero"])
        );
        assert!(
            ids.insert(text(&incident, "/id").to_owned()),
            "{incident:#}"
        );
    }
}

/// The children of a process, or none while it has none.
fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// Its end sends SIGKILL to all of its processes, as the OOM killer does: that is no incident.
#[test]
fn the_end_of_a_pid_namespace_is_nothing_to_read() {
    let trace = &["--no-kubernetes", "--log-level", "trace"];
    let mut agent = Agent::start(&agent_bin(), trace, &[]).unwrap();
    let script = "sleep 1000 & sleep 1000 & read line";
    let unshare = ["--pid", "--fork", "sh", "-c", script];
    let mut namespace = Running::spawn(Command::new("unshare").args(unshare));
    let sleeping = lab::wait::until("the processes of a PID namespace", SOON, || {
        let first = *children(namespace.pid()).first()?;
        let sleeping = children(first);
        (sleeping.len() == 2).then_some(sleeping)
    });
    let sleeping = sleeping.unwrap();
    drop(namespace.0.stdin.take());
    namespace.0.wait().unwrap();
    // A kill after it is reported after it.
    let cgroup = Cgroup::new(32 * MIB).unwrap();
    let victim = tail(&cgroup);
    agent.incident_of(victim.pid(), SOON).unwrap();
    let marked = format!("tgid {}", victim.pid());
    let of_victim = |line: &str| line.contains(&marked).then_some(());
    agent
        .log
        .find("the victim's own message", SOON, of_victim)
        .unwrap();
    for pid in sleeping {
        let read = |line: &&str| line.contains(&format!("tgid {pid}"));
        assert_eq!(agent.log.so_far().find(read), None);
    }
}

#[test]
fn a_bonker_that_is_down_costs_no_incident() {
    let (url, _port) = refusing_url().unwrap();
    let mut agent =
        Agent::start(&agent_bin(), &["--no-kubernetes", "--bonker", &url], &[]).unwrap();
    let cgroup = Cgroup::new(32 * MIB).unwrap();
    let victim = tail(&cgroup);
    let incident = agent.incident_of(victim.pid(), SOON).unwrap();
    assert_eq!(*at(&incident, "/victims/0/cgroup"), json!(cgroup.path()));
    agent
        .log
        .find("warning about the bonker", SOON, |line| {
            let warns = matches!(field(line, "level")?.as_str(), "WARN" | "ERROR");
            (warns && line.contains(&url) && message(line).is_some()).then_some(())
        })
        .unwrap();
}

#[test]
fn without_any_flag_it_runs() {
    let env: [(&str, &OsStr); 1] = [("KUBECONFIG", OsStr::new(""))];
    let mut agent = Agent::start(&agent_bin(), &NO_ARGS, &env).unwrap();
    let cgroup = Cgroup::new(16 * MIB).unwrap();
    let victim = tail(&cgroup);
    agent.incident_of(victim.pid(), SOON).unwrap();
}

/// As a user would have it: `certs` makes the files, `serve` and the agent take them.
#[test]
fn a_bonk_goes_by_mutual_tls_and_with_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let made = Command::new(bonker_bin())
        .args(["certs", "--dir", dir.path().to_str().unwrap()])
        .args(["--host", "penguin.test", "--client", "node"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::write(file("token"), "0123456789abcdef\n").unwrap();
    let flags = [
        ["--tls-cert", &file("server.crt")],
        ["--tls-key", &file("server.key")],
        ["--tls-client-ca", &file("ca.crt")],
        ["--token-file", &file("token")],
    ];
    let bonker = Bonker::start(&bonker_bin(), flags.as_flattened()).unwrap();
    assert!(bonker.url().starts_with("https://"), "{}", bonker.url());
    let flags = [
        ["--bonker", bonker.url()],
        ["--bonker-ca", &file("ca.crt")],
        ["--bonker-cert", &file("node.crt")],
        ["--bonker-key", &file("node.key")],
        ["--bonker-token-file", &file("token")],
    ];
    let flags = [&["--no-kubernetes"], flags.as_flattened()].concat();
    let mut agent = Agent::start(&agent_bin(), &flags, &[]).unwrap();
    let cgroup = Cgroup::new(16 * MIB).unwrap();
    let victim = tail(&cgroup);
    let incident = agent.incident_of(victim.pid(), SOON).unwrap();
    agent.acknowledgement(text(&incident, "/id"), SOON).unwrap();
}

#[test]
fn a_reader_of_standard_output_that_stalls_holds_up_nothing() {
    let bonker = Bonker::start(&bonker_bin(), &[]).unwrap();
    let mut child = Command::new(agent_bin())
        .args(["run", "--output", "json", "--log-format", "json"])
        .args(["--no-kubernetes", "--bonker", bonker.url()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Room for some five lines, which are not read.
    let unread = child.stdout.take().unwrap();
    rustix::pipe::fcntl_setpipe_size(&unread, 4096).unwrap();
    let mut agent = Running(child);
    let mut log = Output::new("oom-agent", agent.0.stderr.take().unwrap());
    log.find("message that it is attached", SOON, |line| {
        (message(line)? == "attached").then_some(())
    })
    .unwrap();
    let victims: Vec<(Cgroup, Running)> = (0..20)
        .map(|_| {
            let cgroup = Cgroup::new(8 * MIB).unwrap();
            let victim = tail(&cgroup);
            (cgroup, victim)
        })
        .collect();
    for (_, victim) in &victims {
        let id = format!("-{}", victim.pid());
        log.find("acknowledgement", SOON, |line| {
            let ours =
                message(line)? == "bonk acknowledged" && field(line, "incident")?.ends_with(&id);
            ours.then_some(())
        })
        .unwrap();
    }
    let pid = rustix::process::Pid::from_child(&agent.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = xtask::process::wait_timeout(&mut agent.0, SOON).unwrap();
    assert!(status.expect("it ends on SIGTERM").success());
    drop(unread);
}

#[test]
fn the_classic_tracepoint_has_every_kill_and_its_reports_name_proc() {
    let cgroup = Cgroup::new(32 * MIB).unwrap();
    // tracefs is mounted for this agent alone.
    let mut agent = Running::spawn(
        Command::new("unshare")
            .args(["--mount", "/bin/sh", "-c"])
            .arg(r#"mount -t tracefs nodev /sys/kernel/tracing && exec "$0" "$@""#)
            .arg(agent_bin())
            .args([
                "run",
                "--probe",
                "classic",
                "--output",
                "json",
                "--no-kubernetes",
            ])
            .args(["--log-format", "json"])
            .stderr(Stdio::piped()),
    );
    let mut incidents = agent.output();
    let mut log = Output::new("oom-agent", agent.0.stderr.take().unwrap());
    log.find("warning that /proc is read", SOON, |line| {
        (field(line, "level")? == "WARN" && message(line)?.contains("/proc")).then_some(())
    })
    .unwrap();
    log.find("message that it is attached", SOON, |line| {
        (message(line)? == "attached" && field(line, "probe")? == "Classic").then_some(())
    })
    .unwrap();
    let victim = tail(&cgroup);
    let incident: serde_json::Value = incidents
        .find("incident", SOON, |line| {
            let incident: serde_json::Value = serde_json::from_str(line).ok()?;
            (*incident.pointer("/victims/0/pid")? == json!(victim.pid())).then_some(incident)
        })
        .unwrap();
    assert_eq!(*at(&incident, "/trigger/comm"), json!("tail"));
    let entry = "victims[0].not read in its own context: the classic tracepoint does not show it";
    let degraded = at(&incident, "/degraded").as_array().unwrap();
    assert!(degraded.contains(&json!(entry)), "{incident:#}");
}

#[test]
fn a_kill_is_counted_and_nothing_is_missing() {
    let mut agent = Agent::start(
        &agent_bin(),
        &["--no-kubernetes", LISTEN[0], LISTEN[1]],
        &[],
    )
    .unwrap();
    let admin = Admin::of_agent(&mut agent);
    assert_eq!(admin.get("/live"), (200, "yes\n".to_owned()));
    let host = r#"oom_agent_kills_total{namespace="",pod="",container="",scope="ancestor",outcome="unknown"}"#;
    assert!(admin.series(host).is_some());
    let (cgroup, id) = Cgroup::of_container(32 * MIB).unwrap();
    let victim = tail(&cgroup);
    let incident = agent.incident_of(victim.pid(), SOON).unwrap();
    assert_eq!(*at(&incident, "/victims/0/container/id"), json!(id));
    let ours = format!(
        r#"oom_agent_kills_total{{namespace="",pod="",container="{id}",scope="container",outcome="unknown"}}"#
    );
    admin.until(&ours, 1.0);
    // Others' kills may be under way.
    admin.until("oom_agent_drift", 0.0);
    assert!(admin.series("oom_agent_kernel_kills_total") >= Some(1.0));
    assert!(admin.series("oom_agent_incident_latency_seconds_count") >= Some(1.0));
    for reason in ["ring-full", "marks-full", "malformed"] {
        let lost = format!(r#"oom_agent_lost_total{{reason="{reason}"}}"#);
        assert_eq!(admin.series(&lost), Some(0.0), "{reason}");
    }
}

#[test]
fn health_shows_a_runtime_that_does_not_answer_and_a_port_that_is_taken() {
    let absent = "unix:///nonexistent/cri.sock";
    let args = [
        "--no-kubernetes",
        LISTEN[0],
        LISTEN[1],
        "--cri-endpoint",
        absent,
    ];
    let mut agent = Agent::start(&agent_bin(), &args, &[]).unwrap();
    let admin = Admin::of_agent(&mut agent);
    assert_eq!(admin.get("/live").0, 200);
    let (status, why) = admin.get("/ready");
    assert!(status == 503 && why.contains(absent), "{status} {why}");
    assert_eq!(admin.get("/metrics").0, 200);
    drop(agent);

    // One that takes connections and answers nothing holds up no scrape.
    let dir = tempfile::tempdir().unwrap();
    let silent = dir.path().join("cri.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let endpoint = format!("unix://{}", silent.display());
    let args = [
        "--no-kubernetes",
        LISTEN[0],
        LISTEN[1],
        "--cri-endpoint",
        &endpoint,
    ];
    let mut agent = Agent::start(&agent_bin(), &args, &[]).unwrap();
    let admin = Admin::of_agent(&mut agent);
    for (path, expected) in [("/metrics", 200), ("/ready", 503), ("/live", 200)] {
        assert_eq!(admin.get(path).0, expected, "{path}");
    }

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = Command::new(agent_bin())
        .args(["run", "--no-kubernetes", "--http-listen", &address])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{error}");
    assert!(
        error.contains(&address) && error.contains("in use"),
        "{error}"
    );
}
