//! Which processes of a group die, and which of them is a first process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::guest::incident::LISTED;
use crate::guest::kill::ExpectedKill;
use crate::guest::pods::{Group, MIB, delegate};
use crate::guest::process::{Plan, start_pack, start_with};
use crate::guest::scene::Scene;

/// Processes of `large_group`.
pub const LARGE_GROUP: usize = 600;

/// Where the program lies of which there are many.
const PAUSE: &str = "/tmp/pause";

/// Two cgroups with limits of their own, in a container that dies as one: each OOM is within one of
/// them, and kills no group.
pub(super) fn nested_group(scene: &mut Scene) -> Result<Value> {
    let container = Group::single_container(31)?;
    let container = container.limit(256 * MIB)?.kill_as_group()?;
    delegate(&container.path)?;
    let first = container.child("first")?.limit(40 * MIB)?;
    let second = container.child("second")?.limit(32 * MIB)?;
    let args = ["--mib", "200", "--gate"];
    let mut hogs = start_pack(&[Plan::new(&first, &args), Plan::new(&second, &args)])?;
    let groups = [(&first, "container-died"), (&second, "child-died")];
    let (mut expected, mut reported) = (Vec::new(), Vec::new());
    // With the namespace's first process the other would end.
    for (hog, (group, outcome)) in hogs.0.iter_mut().zip(groups).rev() {
        let victims = [hog.facts()?];
        hog.open_gate()?;
        let incident = scene.find_incident(&ExpectedKill::with_victims(&victims))?;
        let part = |name: &str| incident.get(name).cloned();
        expected.push(json!({
            "limit_cgroup": &group.path,
            "victims": 1,
            "victim_count": 1,
            "outcome": outcome,
        }));
        reported.push(json!({
            "limit_cgroup": part("limit_cgroup"),
            "victims": incident.get("victims").and_then(Value::as_array).map(Vec::len),
            "victim_count": part("victim_count"),
            "outcome": part("outcome"),
        }));
    }
    Ok(json!({"expected": expected, "reported": reported}))
}

/// A container of 600 processes dies as one: that is one incident with a count, and its first process,
/// which is killed last, is listed.
pub(super) fn large_group(scene: &mut Scene) -> Result<Value> {
    fs::write(PAUSE, pause()).context("write a program")?;
    fs::set_permissions(PAUSE, fs::Permissions::from_mode(0o755)).context("make it one")?;
    let container = Group::single_container(32)?;
    let container = container.limit(96 * MIB)?.kill_as_group()?;
    let first = Plan::new(&container, &["--mib", "0", "--gate", "--hold"]);
    let greedy = Plan::new(&container, &["--mib", "200", "--gate"]);
    let (mut hogs, mut others) = start_with(&[first, greedy], || {
        let others = LARGE_GROUP.saturating_sub(2);
        let others: Result<Vec<Child>> = (0..others)
            .map(|_| Command::new(PAUSE).spawn().context("start one of many"))
            .collect();
        let others = others?;
        others
            .iter()
            .try_for_each(|other| container.enter(other.id()))?;
        Ok(others)
    })?;
    let [first, greedy] = hogs.0.as_mut_slice() else {
        anyhow::bail!("two hogs");
    };
    let victims = [greedy.facts()?, first.facts()?];
    // The others are reaped in any case.
    let incident = greedy
        .open_gate()
        .and_then(|()| scene.find_incident(&ExpectedKill::with_victims(&victims)));
    for other in &mut others {
        // Most are dead.
        let _dead = other.kill();
        other.wait().context("reap one of many")?;
    }
    let incident = incident?;
    let listed = incident.get("victims").and_then(Value::as_array);
    let firsts = listed.into_iter().flatten().filter_map(|victim| {
        let first = victim.get("first_process")? == &json!(true);
        first.then(|| victim.get("pid").cloned())
    });
    let firsts: Vec<_> = firsts.flatten().collect();
    let victim = victims.last().context("a first process")?;
    Ok(json!({
        "expected": {
            "victim_count": LARGE_GROUP,
            "listed": LISTED,
            "first_processes": [victim.pid],
            "outcome": "container-died",
            "limit_cgroup": &container.path,
        },
        "reported": {
            "victim_count": incident.get("victim_count"),
            "listed": listed.map(Vec::len),
            "first_processes": firsts,
            "outcome": incident.get("outcome"),
            "limit_cgroup": incident.get("limit_cgroup"),
        },
    }))
}

/// A program that sleeps for ever and has two pages: of 600 hogs the machine would be full. An ELF
/// header (64 bytes), one program header (56), and `pause` in a loop.
fn pause() -> Vec<u8> {
    const AT: u64 = 0x40_0000;
    const ENTRY: u64 = AT + 120;
    const CODE: [u8; 9] = [0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];
    const SIZE: u64 = 129;
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(16, 0);
    let words = |program: &mut Vec<u8>, words: &[u16]| {
        program.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    // An executable for x86-64, of version 1.
    words(&mut program, &[2, 62, 1, 0]);
    // Entry, program headers, no section headers.
    program.extend([ENTRY, 64, 0].into_iter().flat_map(u64::to_le_bytes));
    // Flags, and the headers' sizes and numbers.
    words(&mut program, &[0, 0, 64, 56, 1, 0, 0, 0]);
    // To be loaded, readable and executable.
    words(&mut program, &[1, 0, 5, 0]);
    let segment = [0, AT, AT, SIZE, SIZE, 4096];
    program.extend(segment.into_iter().flat_map(u64::to_le_bytes));
    program.extend(CODE);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_which_there_are_many_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pause");
        fs::write(&path, pause()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new(&path).spawn().unwrap();
        let sleeps = crate::wait::until("sleep", std::time::Duration::from_secs(10), || {
            let status = fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
            status.contains("(pause) S ").then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        sleeps.unwrap();
    }
}
