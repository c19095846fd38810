//! One process or one group of them is killed.

use std::fs;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::guest::kill::ExpectedKill;
use crate::guest::memory::meminfo;
use crate::guest::pods::{Group, MIB, freeze};
use crate::guest::process::{
    Facts, Plan, Process, start, start_holding, start_on_host, start_pack,
};
use crate::guest::scene::{Scene, select};
use crate::wait::HANG;

/// A container's first process hits the container's limit; `how` is a flag of the hog's.
pub(super) fn single_kill(scene: &mut Scene, n: u32, how: Option<&str>) -> Result<Value> {
    let container = Group::single_container(n)?.limit(48 * MIB)?;
    let args: Vec<&str> = ["--mib", "200", "--gate"].into_iter().chain(how).collect();
    let plan = Plan {
        uid: 1000,
        oom_score_adj: 500,
        ..Plan::new(&container, &args)
    };
    scene.play_filling(plan, ("container", 48 * MIB, &container.path))
}

/// A process that is in no container hits its service's limit.
pub(super) fn host_process(scene: &mut Scene) -> Result<Value> {
    // Delegates from the root, as every node does.
    Group::burstable()?;
    let service = Group::create("/system")?.limit(32 * MIB)?;
    let mut hog = start_on_host(Plan::new(&service, &["--mib", "200", "--gate"]))?;
    let victims = [hog.facts()?];
    let kill = ExpectedKill {
        outcome: "unknown",
        ..ExpectedKill::at_limit(("ancestor", 32 * MIB, &service.path), &victims)
    };
    scene.play(&kill, || hog.open_gate())
}

/// A child of a container's first process is killed, and that one lives on. With `--nested` the child
/// is the first process of a PID namespace of its own.
pub(super) fn child_kill(scene: &mut Scene, n: u32, how: Option<&str>) -> Result<Value> {
    let container = Group::single_container(n)?.limit(48 * MIB)?;
    let args = ["--mib", "200", "--gate", "--child", "--hold"];
    let args: Vec<&str> = args.into_iter().chain(how).collect();
    let mut parent = start(Plan::new(&container, &args))?;
    let mut victim = parent.child_facts()?;
    if let Some(first) = victim.victim.get_mut("first_process") {
        // Of the container's own namespace it is not.
        *first = json!(false);
    }
    let victims = [victim];
    let kill = ExpectedKill {
        outcome: "child-died",
        ..ExpectedKill::at_limit(("container", 48 * MIB, &container.path), &victims)
    };
    let outcome = scene.play(&kill, || parent.open_gate())?;
    parent.wait_for_line("touched")?;
    parent.ensure_alive()?;
    Ok(outcome)
}

/// All of a container's processes are killed together.
pub(super) fn group_kill(scene: &mut Scene) -> Result<Value> {
    let container = Group::single_container(5)?;
    let container = container.limit(64 * MIB)?.kill_as_group()?;
    let idle = Plan::new(&container, &["--mib", "4", "--gate", "--hold"]);
    let greedy = Plan::new(&container, &["--mib", "200", "--gate"]);
    let mut hogs = start_pack(&[idle, idle, idle, greedy])?;
    let victims = hogs.0.iter().map(Process::facts);
    let victims = victims.collect::<Result<Vec<_>>>()?;
    let [idle @ .., greedy] = hogs.0.as_mut_slice() else {
        bail!("four hogs");
    };
    idle.iter_mut().try_for_each(Process::touch)?;
    let kill = ExpectedKill {
        trigger: victims.last().map(|victim| victim.pid),
        ..ExpectedKill::at_limit(("container", 64 * MIB, &container.path), &victims)
    };
    scene.play(&kill, || greedy.open_gate())
}

/// One container allocates, the pod's limit is hit, and another container dies; `how` is a flag of its hog's.
pub(super) fn pod_limit(scene: &mut Scene, n: u32, how: Option<&str>) -> Result<Value> {
    let pod = Group::burstable()?.pod(n)?.limit(96 * MIB)?;
    let (mut meek, mut greedy) = start_neighbours(&pod, 80 * MIB, how)?;
    // A first thread that ends as memory is touched takes what /proc shows along.
    let victims = [meek.facts()?];
    meek.touch()?;
    let kill = pod_kill(&pod, &greedy, &victims)?;
    let outcome = scene.play(&kill, || greedy.open_gate())?;
    greedy.wait_for_line("touched")?;
    // What lives on was there all the time: the pod's memory by kind is of the right cgroup.
    let anon = outcome.pointer("/reported/memory/0/stat/anon");
    let anon = anon.and_then(Value::as_u64);
    if anon.is_none_or(|anon| anon < 40 * MIB) {
        bail!("the pod had at least 40 MiB of anon: {outcome}");
    }
    Ok(outcome)
}

/// The victim has been sent SIGKILL before, and could not take it.
pub(super) fn already_exiting(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(13)?.limit(96 * MIB)?;
    let (mut meek, mut greedy) = start_neighbours(&pod, 80 * MIB, None)?;
    meek.touch()?;
    // The kernel thaws the one that it chooses, just before its tracepoint: on one CPU the other
    // cannot get past that.
    meek.pin()?;
    greedy.pin()?;
    let victims = [meek.facts()?];
    let kill = ExpectedKill {
        outcome: "already-exiting",
        ..pod_kill(&pod, &greedy, &victims)?
    };
    for victim in &victims {
        freeze(victim.pid)?;
    }
    meek.kill()?;
    let outcome = scene.play_unlogged(&kill, || greedy.open_gate())?;
    greedy.wait_for_line("touched")?;
    Ok(outcome)
}

/// Two containers of a pod: one with a limit that takes 50 MiB and is killed first, and one that is spared.
fn start_neighbours(pod: &Group, limit: u64, how: Option<&str>) -> Result<(Process, Process)> {
    let (first, second) = (pod.container(6)?.limit(limit)?, pod.container(7)?);
    let args = ["--mib", "50", "--gate", "--hold"];
    let args: Vec<&str> = args.into_iter().chain(how).collect();
    let meek = start(Plan::new(&first, &args).preferred())?;
    // Spared even when the other's memory is given back late.
    let greedy = Plan::new(&second, &["--mib", "60", "--gate", "--hold"]);
    Ok((meek, start(greedy.spared())?))
}

/// A container dies because another process hits the pod's limit of 96 MiB.
fn pod_kill<'a>(
    pod: &'a Group,
    trigger: &Process,
    victims: &'a [Facts],
) -> Result<ExpectedKill<'a>> {
    Ok(ExpectedKill {
        trigger: Some(trigger.facts()?.pid),
        ..ExpectedKill::at_limit(("pod", 96 * MIB, &pod.path), victims)
    })
}

/// The limit is that of all burstable pods together.
pub(super) fn ancestor_limit(scene: &mut Scene) -> Result<Value> {
    let burstable = Group::burstable()?.limit(64 * MIB)?;
    let container = burstable.pod(8)?.container(8)?.limit(512 * MIB)?;
    scene.play_filling(
        Plan::new(&container, &["--mib", "200", "--gate"]),
        ("ancestor", 64 * MIB, &burstable.path),
    )
}

/// The pod's limit is hit while the victim's container stands at its own, too: an agent without
/// probes on the kernel's functions finds out by what the kernel counts.
pub(super) fn counted_limit(scene: &mut Scene) -> Result<Value> {
    let mut unprobed = Scene::start_agent(&["--probe", "tracepoints", "--env", "APP_*"])?;
    let pod = Group::burstable()?.pod(21)?.limit(96 * MIB)?;
    let (mut meek, mut greedy) = start_neighbours(&pod, 52 * MIB, None)?;
    meek.touch()?;
    let victims = [meek.facts()?];
    let kill = pod_kill(&pod, &greedy, &victims)?;
    let probed = scene.play(&kill, || greedy.open_gate())?;
    let counted = unprobed.incident_of(victims.first().context("a victim")?.pid, HANG)?;
    let part = |name: &str| probed.get(name).cloned().unwrap_or_default();
    let fields = ["scope", "limit_bytes", "limit_cgroup", "oom"];
    let mut expected = select(&part("expected"), &fields);
    expected.insert("oom".to_owned(), Value::Null);
    expected.insert("environment".to_owned(), json!({"APP_NAME": "hog"}));
    let mut reported = select(&counted, &fields);
    let environment = counted.pointer("/victims/0/environment").cloned();
    reported.insert("environment".to_owned(), json!(environment));
    Ok(json!({
        "expected": {"probed": part("expected"), "counted": expected},
        "reported": {"probed": part("reported"), "counted": reported},
    }))
}

/// No cgroup's limit is hit: the machine is out of memory.
pub(super) fn node_wide(scene: &mut Scene) -> Result<Value> {
    let container = Group::single_container(9)?;
    let plan = Plan::new(&container, &["--mib", "4096", "--gate"]);
    let mut hog = start(plan.preferred())?;
    let victims = [hog.facts()?];
    let kill = ExpectedKill::without_limit("node", Some(meminfo("MemTotal:")?), &victims);
    scene.play(&kill, || hog.open_gate())
}

/// A kill by sysrq, whose trigger is a worker of the kernel.
pub(super) fn sysrq(scene: &mut Scene) -> Result<Value> {
    let container = Group::single_container(10)?;
    let plan = Plan::new(&container, &["--mib", "64", "--gate", "--hold"]);
    let hog = start_holding(plan.preferred())?;
    let victims = [hog.facts()?];
    let kill = ExpectedKill::without_limit("sysrq", None, &victims);
    scene.play(&kill, || {
        fs::write("/proc/sysrq-trigger", "f").context("write to /proc/sysrq-trigger")
    })
}
