//! `oom-agent sidecar`: a process that acts on its signals lives.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::{Cgroup, Output, field, message};

use super::support::{MIB, SOON, agent_bin};
use super::{HOG, Running};

const LIMIT: u64 = 64 * MIB;

/// One MiB in so many ms: from 90 % on there are some 300 ms left.
const CAREFUL: [&str; 6] = ["hog", "--mib", "200", "--hold", "--careful", "50"];

/// A cgroup to grow in. Pages of the program that were not used yet would be charged to it.
fn cgroup() -> Cgroup {
    let mut once = Command::new(HOG);
    let ran = once.args(["hog", "--mib", "1", "--careful", "1"]).output();
    assert!(ran.unwrap().status.success());
    Cgroup::new(LIMIT).unwrap()
}

struct Sidecar {
    _running: Running,
    log: Output,
}

/// Without a pod: of one cgroup.
fn sidecar(cgroup: &Cgroup, args: &[&str], env: &[(&str, &str)]) -> Sidecar {
    let mut command = Command::new(agent_bin());
    command
        .args([
            "sidecar",
            "--log-format",
            "json",
            "--http-listen",
            "127.0.0.1:0",
            "--cgroup",
        ])
        .arg(cgroup.procs().parent().unwrap())
        .args(args)
        .envs(env.iter().copied())
        .stderr(Stdio::piped());
    let mut running = Running::spawn(&mut command);
    let log = Output::new("sidecar", running.0.stderr.take().unwrap());
    let mut sidecar = Sidecar {
        _running: running,
        log,
    };
    sidecar.find_message("watching");
    sidecar
}

impl Sidecar {
    fn find_message(&mut self, what: &str) {
        let has = |line: &str| message(line)?.contains(what).then_some(());
        self.log.find(what, SOON, has).unwrap();
    }
}

fn mib(output: &mut Output, what: &str) -> u64 {
    let found = |line: &str| line.strip_prefix(what)?.strip_suffix(" MiB")?.parse().ok();
    output.find(what, SOON, found).unwrap()
}

#[test]
fn a_process_that_lets_go_on_sigusr2_survives() {
    let cgroup = cgroup();
    let _sidecar = sidecar(&cgroup, &[], &[]);
    let mut hog = Running::spawn(cgroup.command(HOG).args(CAREFUL));
    let mut output = hog.output();
    let warned = mib(&mut output, "warned at ");
    let let_go = mib(&mut output, "let go at ");
    // Some of the limit is the program itself; on a busy machine some more is eaten meanwhile.
    assert!((40..58).contains(&warned), "warned at {warned} MiB of 64");
    assert!((50..64).contains(&let_go), "let go at {let_go} MiB of 64");
    mib(&mut output, "touched ");
    assert_eq!(cgroup.oom_kills().unwrap(), 0);
}

#[test]
fn the_same_process_is_killed_without_a_sidecar() {
    let cgroup = cgroup();
    let mut hog = Running::spawn(cgroup.command(HOG).args(CAREFUL));
    let status = hog.0.wait().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!((signal, cgroup.oom_kills().unwrap()), (Some(9), 1));
}

#[test]
fn oomheros_variables_set_thresholds_and_signals() {
    let cgroup = cgroup();
    let env = [
        ("WARNING", "30"),
        ("CRITICAL", "60"),
        ("COOLDOWN", "1m30s"),
        ("WARNING_SIGNAL", "SIGCONT"),
        ("CRITICAL_SIGNAL", "SIGTERM"),
    ];
    let mut sidecar = sidecar(&cgroup, &[], &env);
    let mut hog = Running::spawn(cgroup.command(HOG).args(CAREFUL));
    let status = hog.0.wait().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!((signal, cgroup.oom_kills().unwrap()), (Some(15), 0));
    sidecar.find_message("warning: signal sent");
    sidecar.find_message("critical: signal sent");
}

#[test]
fn an_empty_variable_is_none() {
    let cgroup = cgroup();
    let names = [
        "WARNING",
        "CRITICAL",
        "COOLDOWN",
        "WARNING_SIGNAL",
        "CRITICAL_SIGNAL",
    ];
    let mut sidecar = sidecar(&cgroup, &[], &names.map(|name| (name, "")));
    let watching = |line: &&str| message(line).is_some_and(|text| text.contains("watching"));
    let line = sidecar.log.so_far().find(watching).unwrap();
    for (name, default) in [
        ("warning", "75 %"),
        ("critical", "90 %"),
        ("cooldown", "30s"),
        ("by", "SIGUSR1 and SIGUSR2"),
    ] {
        assert_eq!(field(line, name).unwrap(), default, "{line}");
    }
}

#[test]
fn a_warning_threshold_that_is_not_below_the_critical_one_is_logged() {
    let cgroup = cgroup();
    let is_logged = |env: &[(&str, &str)]| {
        let mut sidecar = sidecar(&cgroup, &[], env);
        let none = |line: &str| line.contains("the warning level is never reached");
        sidecar.log.so_far().any(none)
    };
    assert!(is_logged(&[("WARNING", "95")]));
    assert!(is_logged(&[("WARNING", "90")]));
    assert!(!is_logged(&[("WARNING", "89")]));
}

#[test]
fn an_expression_of_the_third_oomhero_decides() {
    let cgroup = cgroup();
    let args = [
        "--warning=memory_usage > 20 && oom_score >= 0",
        "--critical=memory_current > memory_max * 0.5 || memory_pressure_full_avg10 > 99",
    ];
    let _sidecar = sidecar(&cgroup, &args, &[]);
    let mut hog = Running::spawn(cgroup.command(HOG).args(CAREFUL));
    let mut output = hog.output();
    let warned = mib(&mut output, "warned at ");
    let let_go = mib(&mut output, "let go at ");
    assert!(
        warned < 30 && (25..55).contains(&let_go),
        "{warned}, {let_go}"
    );
}

#[test]
fn a_notice_is_posted_in_place_of_a_signal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("http.yaml");
    let address = listener.local_addr().unwrap();
    std::fs::write(
        &config,
        format!("url: http://{address}/hook\nheaders:\n  - name: Authorization\n    value: Bearer s3cret\n"),
    )
    .unwrap();
    let cgroup = cgroup();
    let mut sidecar = sidecar(
        &cgroup,
        &["--warning=60", "--http-file-path", config.to_str().unwrap()],
        &[],
    );
    // Slow enough for a forecast: 6.7 MiB in a second.
    let slow = ["hog", "--mib", "200", "--hold", "--careful", "150"];
    let mut hog = Running::spawn(cgroup.command(HOG).args(slow));
    let mut output = hog.output();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut request = String::new();
    while !request.ends_with('}') {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{request}");
        request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook "), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["severity"], "Warning");
    assert_eq!(body["process"]["pid"], hog.pid());
    assert_eq!(body["collected_data"]["memory_max"], LIMIT);
    let forecast = body["forecast_seconds"].as_f64().unwrap();
    assert!((1.5..12.0).contains(&forecast), "{body:#}");
    sidecar.find_message("warning: notice");
    assert!(!sidecar.log.so_far().any(|line| line.contains("s3cret")));
    hog.0.wait().unwrap();
    assert!(
        !output
            .to_end(SOON)
            .iter()
            .any(|line| line.contains("warned"))
    );
}

#[test]
fn a_limit_above_the_cgroup_is_one_of_it() {
    let parent = cgroup();
    let app = parent.below("app").unwrap();
    let _sidecar = sidecar(&app, &[], &[]);
    let mut hog = Running::spawn(app.command(HOG).args(CAREFUL));
    let mut output = hog.output();
    let warned = mib(&mut output, "warned at ");
    let let_go = mib(&mut output, "let go at ");
    assert!((40..58).contains(&warned), "warned at {warned} MiB of 64");
    assert!((50..64).contains(&let_go), "let go at {let_go} MiB of 64");
}

/// As a service's, with every restart.
#[test]
fn a_cgroup_that_goes_is_logged_once_and_watched_again_when_it_is_back() {
    let cgroup = cgroup();
    let mut sidecar = sidecar(&cgroup, &[], &[]);
    cgroup.remove().unwrap();
    sidecar.find_message("cannot be listed");
    // Ten samples: none of them logs it again.
    let mut logged = 0;
    let again = |line: &str| {
        logged += u32::from(message(line)?.contains("cannot be listed"));
        (logged > 1).then_some(())
    };
    let again = sidecar.log.find("it", Duration::from_secs(1), again);
    assert!(again.is_err());
    cgroup.make_anew(LIMIT).unwrap();
    sidecar.find_message("can be listed again");
    let mut hog = Running::spawn(cgroup.command(HOG).args(CAREFUL));
    mib(&mut hog.output(), "let go at ");
}

/// The processes of a pod: the first one holds the namespace, one comes near its limit, one has none.
#[test]
fn in_a_shared_pid_namespace_only_processes_near_a_limit_are_signalled() {
    let cgroup = cgroup();
    let script = r#"
        "$AGENT" sidecar --http-listen 127.0.0.1:0 < /dev/null 2>&1 &
        /bin/sh -c 'echo bystander; exec sleep 2147483647' &
        bystander=$!
        /bin/sh -c 'echo $$ > "$PROCS" && exec "$HOG" hog --mib 200 --careful 50 --gate'
        kill -0 $bystander && echo all live
        exec cat"#;
    let mut pod = Command::new("unshare");
    pod.args([
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "/bin/sh",
        "-c",
        script,
    ])
    .env("AGENT", agent_bin())
    .env("HOG", HOG)
    .env("PROCS", cgroup.procs());
    let mut pod = Running::spawn(&mut pod);
    let mut output = pod.output();
    for line in ["watching", "ready"] {
        let found = |text: &str| text.contains(line).then_some(());
        output.find(line, SOON, found).unwrap();
    }
    pod.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    mib(&mut output, "warned at ");
    mib(&mut output, "let go at ");
    let live = |line: &str| (line == "all live").then_some(());
    output.find("all live", SOON, live).unwrap();
    assert_eq!(cgroup.oom_kills().unwrap(), 0);
}

#[test]
fn no_process_of_the_host_is_ever_signalled() {
    let refused = Command::new(agent_bin()).arg("sidecar").output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success(), "{error}");
    assert!(error.contains("the host's PID namespace"), "{error}");
}

#[test]
fn what_is_wrong_is_named_at_start() {
    let start = |args: &[&str]| {
        let ended = Command::new(agent_bin()).arg("sidecar").args(args).output();
        let ended = ended.unwrap();
        assert!(!ended.status.success());
        String::from_utf8(ended.stderr).unwrap()
    };
    let error = start(&["--warning", "memory_usage > 75 &"]);
    assert!(error.contains("found `&`, at character 19 of: "), "{error}");
    let error = start(&["--cgroup", "/nowhere"]);
    assert!(error.contains("/nowhere has neither"), "{error}");
    let missing = Path::new("/nowhere/http.yaml").to_str().unwrap();
    let error = start(&["--cgroup", "/nowhere", "--http-file-path", missing]);
    assert!(error.contains("cannot read /nowhere/http.yaml"), "{error}");
}
