//! What is logged at the start, and what then still works.

use std::io::Read as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use lab::{Agent, Cgroup, Output, field, message};
use serde_json::json;
use xtask::process::{Guard, wait_timeout};

use super::{Running, tail};
use crate::support::{MIB, SOON, agent_bin};

#[test]
fn a_malformed_flag_is_refused_with_a_message() {
    for args in [
        &["run", "--bonker", "not a url"][..],
        &["run", "--output", "xml"],
        &["run", "--cri-endpoint", "http://example.org"],
    ] {
        let (status, error) = run_to_end(Command::new(agent_bin()).args(args));
        assert!(!status.success(), "{args:?}: {error}");
        let wrong = args.get(2).unwrap();
        assert!(
            error.contains(wrong) && !error.contains("panicked"),
            "{args:?}: {error}"
        );
    }
}

/// Runs a command that should fail with exit code 1, and gives its standard error.
pub(super) fn fails(command: &mut Command) -> String {
    let (status, error) = run_to_end(command);
    assert_eq!(status.code(), Some(1), "{error}");
    error
}

fn run_to_end(command: &mut Command) -> (ExitStatus, String) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = Guard::spawn(command, Duration::ZERO).unwrap();
    let status = wait_timeout(&mut child, SOON).unwrap();
    let mut stderr = child.stderr.take().unwrap();
    drop(child);
    let mut error = String::new();
    stderr.read_to_string(&mut error).unwrap();
    let status = status.unwrap_or_else(|| panic!("it runs on: {error}"));
    (status, error)
}

/// The agent in a mount namespace of its own, after a piece of shell.
fn after_mounts(mounts: &str, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "/bin/sh", "-c"])
        .arg(format!(r#"{mounts} && exec "$0" "$@""#))
        .arg(agent_bin())
        .args(["run", "--output", "json", "--no-kubernetes"])
        .args(["--log-format", "json"])
        .args(args);
    command
}

#[test]
fn a_missing_capability_is_one_sentence_with_the_remedy() {
    for bounding in ["-all", "-all,+bpf", "-all,+perfmon"] {
        let error = fails(
            Command::new("setpriv")
                .arg(format!("--bounding-set={bounding}"))
                .arg(agent_bin())
                .args(["run", "--no-kubernetes"]),
        );
        let lines: Vec<&str> = error.lines().collect();
        let [line] = lines.as_slice() else {
            panic!("{bounding}: {error}")
        };
        assert!(
            line.starts_with("oom-agent: nothing can be captured on this host: "),
            "{bounding}: {line}"
        );
        assert!(
            line.contains("it takes CAP_BPF and CAP_PERFMON"),
            "{bounding}: {line}"
        );
        assert_eq!(line.matches("CAP_PERFMON").count(), 1, "{bounding}: {line}");
    }
}

const NO_BTF: &str = "mount --bind /dev/null /sys/kernel/btf/vmlinux";

#[test]
fn without_btf_the_classic_tracepoint_is_used_and_logged() {
    let cgroup = Cgroup::new(32 * MIB).unwrap();
    let mounts = format!("{NO_BTF} && mount -t tracefs nodev /sys/kernel/tracing");
    let mut agent = Running::spawn(after_mounts(&mounts, &[]).stderr(Stdio::piped()));
    let mut incidents = agent.output();
    let mut log = Output::new("oom-agent", agent.0.stderr.take().unwrap());
    log.find("warning that BTF cannot be used", SOON, |line| {
        let warns = field(line, "level")? == "WARN" && message(line)?.contains("/proc");
        (warns && field(line, "error")?.contains("CONFIG_DEBUG_INFO_BTF")).then_some(())
    })
    .unwrap();
    log.find("message that it is attached", SOON, |line| {
        (message(line)? == "attached" && field(line, "probe")? == "Classic").then_some(())
    })
    .unwrap();
    let guessed = log.so_far().any(|line| line.contains("where most kernels"));
    assert!(!guessed, "tracefs shows where the pid is");
    let victim = tail(&cgroup);
    incidents
        .find("incident", SOON, |line| {
            let incident: serde_json::Value = serde_json::from_str(line).ok()?;
            (*incident.pointer("/victims/0/pid")? == json!(victim.pid())).then_some(())
        })
        .unwrap();
}

#[test]
fn without_btf_and_tracefs_one_sentence_names_both() {
    // Whatever the host has mounted there is hidden.
    let mounts = format!(
        "{NO_BTF} && mount -t tmpfs nodev /sys/kernel/tracing && mount -t tmpfs nodev /sys/kernel/debug"
    );
    let error = fails(&mut after_mounts(&mounts, &[]));
    let last = error.lines().last().unwrap();
    assert!(last.contains("CONFIG_DEBUG_INFO_BTF"), "{error}");
    assert!(last.contains("mount -t tracefs"), "{error}");
    let error = fails(&mut after_mounts(NO_BTF, &["--probe", "btf"]));
    let last = error.lines().last().unwrap();
    assert!(last.contains("the kernel's BTF cannot be used"), "{error}");
}

#[test]
fn a_missing_kubeconfig_is_an_error() {
    let path = "/nonexistent/config";
    let mut agent = Agent::start(&agent_bin(), &["--kubeconfig", path], &[]).unwrap();
    agent
        .log
        .find("error about the kubeconfig", SOON, |line| {
            (field(line, "level")? == "ERROR" && line.contains(path)).then_some(())
        })
        .unwrap();
}
