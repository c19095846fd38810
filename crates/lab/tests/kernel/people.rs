//! What people read on standard output.

use std::process::{Command, Stdio};

use lab::{Cgroup, Output, message};

use super::{Running, tail};
use crate::support::{MIB, SOON, agent_bin};

/// An agent with output for people, attached.
pub(super) fn start_agent_for_people(flags: &[&str]) -> Running {
    let mut command = Command::new(agent_bin());
    command.args(["run", "--no-kubernetes", "--log-format=json"]);
    let mut agent = Running::spawn(command.args(flags).stderr(Stdio::piped()));
    let mut log = Output::new("log", agent.0.stderr.take().unwrap());
    let attached = |line: &str| message(line)?.contains("attached").then_some(());
    log.find("message that it is attached", SOON, attached)
        .unwrap();
    agent
}

#[test]
fn people_read_of_a_kill_in_one_line() {
    let mut agent = start_agent_for_people(&[]);
    let cgroup = Cgroup::new(16 * MIB).unwrap();
    let victim = tail(&cgroup);
    let sentence = format!(" tail (pid {}) was OOM-killed", victim.pid());
    let ours = |line: &str| line.contains(&sentence).then(|| line.to_owned());
    let line = agent.output().find("sentence", SOON, ours).unwrap();
    assert!(line.contains("16.0 MiB"), "{line}");
    assert!(line.ends_with(" — command line: tail /dev/zero"), "{line}");
}
