//! Who died of a group, and whose first process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::cases::{MIB, plan};
use super::pods::Group;
use super::process::{Facts, Plan, start, start_with};
use super::scene::{Scene, Story};

/// Processes of `large_group`.
pub const LARGE_GROUP: usize = 600;

/// Of these an incident lists so many.
const LISTED: usize = 256;

/// Where the program lies of which there are many.
const PAUSE: &str = "/tmp/pause";

/// Two cgroups with limits of their own, in a container that dies as one: each OOM is within one of
/// them, and kills no group.
pub(super) fn nested_group(scene: &mut Scene) -> Result<Value> {
    let container = Group::burstable()?.pod(31)?.container(31)?;
    let container = container.limit(256 * MIB)?.die_as_one()?;
    container.set("cgroup.subtree_control", "+memory")?;
    let within = |name: &str, limit: u64| -> Result<Group> {
        let path = format!("{}/{name}", container.path);
        let group = Group {
            path,
            ..container.clone()
        };
        fs::create_dir(group.dir()).context("make a cgroup within a container")?;
        group.limit(limit)
    };
    let (first, second) = (within("first", 40 * MIB)?, within("second", 32 * MIB)?);
    let args = ["--mib", "200", "--gate"];
    let mut hogs = start(&[plan(&first, &args), plan(&second, &args)])?;
    let groups = [(&first, "container-died"), (&second, "child-died")];
    let (mut expected, mut seen) = (Vec::new(), Vec::new());
    // With the namespace's first process the other would end.
    for (hog, (group, outcome)) in hogs.0.iter_mut().zip(groups).rev() {
        let victims = [hog.facts()?];
        let told = told(scene, &victims, || hog.go())?;
        let part = |name: &str| told.get(name).cloned();
        expected.push(json!({
            "limit_cgroup": &group.path,
            "victims": 1,
            "victim_count": 1,
            "outcome": outcome,
        }));
        seen.push(json!({
            "limit_cgroup": part("limit_cgroup"),
            "victims": told.get("victims").and_then(Value::as_array).map(Vec::len),
            "victim_count": part("victim_count"),
            "outcome": part("outcome"),
        }));
    }
    Ok(json!({"expected": expected, "told": seen}))
}

/// A container of 600 processes dies as one: that is one incident with a count, and its first process,
/// which is killed last, is listed.
pub(super) fn large_group(scene: &mut Scene) -> Result<Value> {
    fs::write(PAUSE, pause()).context("write a program")?;
    fs::set_permissions(PAUSE, fs::Permissions::from_mode(0o755)).context("make it one")?;
    let container = Group::burstable()?.pod(32)?.container(32)?;
    let container = container.limit(96 * MIB)?.die_as_one()?;
    let first = plan(&container, &["--mib", "0", "--gate", "--hold"]);
    let greedy = plan(&container, &["--mib", "200", "--gate"]);
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
    let told = told(scene, &victims, || greedy.go());
    for other in &mut others {
        // Most are dead.
        let _dead = other.kill();
        other.wait().context("reap one of many")?;
    }
    let told = told?;
    let listed = told.get("victims").and_then(Value::as_array);
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
        "told": {
            "victim_count": told.get("victim_count"),
            "listed": listed.map(Vec::len),
            "first_processes": firsts,
            "outcome": told.get("outcome"),
            "limit_cgroup": told.get("limit_cgroup"),
        },
    }))
}

/// A container's process has a PID namespace of its own, and is its first process.
pub(super) fn nested_first_process(scene: &mut Scene) -> Result<Value> {
    let container = Group::burstable()?
        .pod(33)?
        .container(33)?
        .limit(48 * MIB)?;
    let args = ["--mib", "200", "--gate", "--child", "--nested", "--hold"];
    let mut hogs = start(&[Plan {
        oom_score_adj: 0,
        ..plan(&container, &args)
    }])?;
    let parent = hogs.first()?;
    let mut victim = parent.child_facts()?;
    if let Some(first) = victim.told.get_mut("first_process") {
        *first = json!(false);
    }
    let victims = [victim];
    let story = Story {
        scope: "container",
        limit_bytes: Some(48 * MIB),
        limit_cgroup: Some(&container.path),
        outcome: "child-died",
        trigger: victims.first().map(|victim| victim.pid),
        victims: &victims,
    };
    let told = scene.play(&story, || parent.go())?;
    parent.said("touched")?;
    parent.lives()?;
    Ok(told)
}

/// The incident of one of them.
fn told(scene: &mut Scene, victims: &[Facts], go: impl FnOnce() -> Result<()>) -> Result<Value> {
    go()?;
    scene.told_of(&Story {
        scope: "",
        limit_bytes: None,
        limit_cgroup: None,
        outcome: "",
        trigger: None,
        victims,
    })
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
