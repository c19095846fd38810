//! The cases: each has the kernel kill in another way.

use std::fs;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::before::verdicts;
use super::identity::{large_group, nested_first_process, nested_group};
use super::limits;
use super::pods::{Freezer, Group};
use super::process::{Pack, Plan, SOON, start, start_on_host};
use super::sampled::sampled;
use super::scene::{Scene, Story};
use super::sidecar::sidecar;
use super::storm::{KILLS, storm};
use super::unkillable::unkillable;
use super::warned::warned;

pub(super) const MIB: u64 = 1 << 20;

/// Every case, in the order they run.
pub const NAMES: [&str; 30] = [
    "single_kill",
    "host_process",
    "child_kill",
    "group_kill",
    "nested_group",
    "large_group",
    "nested_first_process",
    "thread_kill",
    "leaderless_kill",
    "leaderless_bystander",
    "already_exiting",
    "pod_limit",
    "ancestor_limit",
    "counted_limit",
    "same_limit",
    "sum_of_limits",
    "pod_level_limit",
    "volume_decides",
    "nested_limit",
    "all_pods_limit",
    "lowered_limit",
    "node_bystander",
    "node_wide",
    "sysrq",
    "sidecar",
    "warned",
    "verdicts",
    "sampled",
    "unkillable",
    "storm",
];

/// How many the agent tells in all: `sampled` and `unkillable` have none, `verdicts` and `nested_group` two, `storm` many.
pub const INCIDENTS: usize = NAMES.len() - 5 + 2 + 2 + KILLS;

/// Runs one case: `{"expected": …, "told": …}`.
pub(super) fn run(name: &str, scene: &mut Scene) -> Result<Value> {
    match name {
        "single_kill" => single_kill(scene, &["--mib", "200", "--gate"], 1),
        "host_process" => host_process(scene),
        "child_kill" => child_kill(scene),
        "group_kill" => group_kill(scene),
        "nested_group" => nested_group(scene),
        "large_group" => large_group(scene),
        "nested_first_process" => nested_first_process(scene),
        "thread_kill" => single_kill(scene, &["--mib", "200", "--gate", "--thread"], 2),
        "leaderless_kill" => single_kill(scene, &["--mib", "200", "--gate", "--leaderless"], 3),
        "leaderless_bystander" => {
            let leaderless = ["--mib", "50", "--gate", "--hold", "--leaderless"];
            pod_limit(scene, &leaderless, 11)
        }
        "already_exiting" => already_exiting(scene),
        "pod_limit" => pod_limit(scene, &["--mib", "50", "--gate", "--hold"], 6),
        "ancestor_limit" => ancestor_limit(scene),
        "counted_limit" => counted_limit(scene),
        "same_limit" => limits::same_limit(scene),
        "sum_of_limits" => limits::sum_of_limits(scene),
        "pod_level_limit" => limits::pod_level_limit(scene),
        "volume_decides" => limits::volume_decides(scene),
        "nested_limit" => limits::nested_limit(scene),
        "all_pods_limit" => limits::all_pods_limit(scene),
        "lowered_limit" => limits::lowered_limit(scene),
        "node_bystander" => limits::node_bystander(scene),
        "node_wide" => node_wide(scene),
        "sysrq" => sysrq(scene),
        "sidecar" => sidecar(scene),
        "warned" => warned(scene),
        "verdicts" => verdicts(scene),
        "sampled" => sampled(scene),
        "unkillable" => unkillable(scene),
        "storm" => storm(scene),
        _ => bail!("no case is called {name}"),
    }
}

pub(super) fn plan<'a>(group: &'a Group, args: &'a [&'a str]) -> Plan<'a> {
    Plan {
        group,
        args,
        uid: 0,
        oom_score_adj: 0,
    }
}

/// A container's first process hits the container's limit.
fn single_kill(scene: &mut Scene, args: &[&str], n: u32) -> Result<Value> {
    let container = Group::burstable()?.pod(n)?.container(n)?.limit(48 * MIB)?;
    let mut hogs = start(&[Plan {
        uid: 1000,
        oom_score_adj: 500,
        ..plan(&container, args)
    }])?;
    let hog = hogs.first()?;
    let victims = [hog.facts()?];
    let story = Story {
        scope: "container",
        limit_bytes: Some(48 * MIB),
        limit_cgroup: Some(&container.path),
        outcome: "container-died",
        trigger: victims.first().map(|victim| victim.pid),
        victims: &victims,
    };
    scene.play(&story, || hog.go())
}

/// A process that is in no container hits its service's limit.
fn host_process(scene: &mut Scene) -> Result<Value> {
    // Delegates from the root, as every node does.
    Group::burstable()?;
    let service = Group::plain("/system")?.limit(32 * MIB)?;
    let mut hog = start_on_host(plan(&service, &["--mib", "200", "--gate"]))?;
    let victims = [hog.facts()?];
    let story = Story {
        scope: "ancestor",
        limit_bytes: Some(32 * MIB),
        limit_cgroup: Some(&service.path),
        outcome: "unknown",
        trigger: victims.first().map(|victim| victim.pid),
        victims: &victims,
    };
    scene.play(&story, || hog.go())
}

/// A child of a container's first process is killed, and that one lives on.
fn child_kill(scene: &mut Scene) -> Result<Value> {
    let container = Group::burstable()?.pod(4)?.container(4)?.limit(48 * MIB)?;
    let args = ["--mib", "200", "--gate", "--child", "--hold"];
    let mut hogs = start(&[plan(&container, &args)])?;
    let parent = hogs.first()?;
    let victims = [parent.child_facts()?];
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

/// All of a container's processes are killed together.
fn group_kill(scene: &mut Scene) -> Result<Value> {
    let container = Group::burstable()?.pod(5)?.container(5)?;
    let container = container.limit(64 * MIB)?.die_as_one()?;
    let idle = plan(&container, &["--mib", "4", "--gate", "--hold"]);
    let greedy = plan(&container, &["--mib", "200", "--gate"]);
    let mut hogs = start(&[idle, idle, idle, greedy])?;
    let victims = hogs
        .0
        .iter()
        .map(super::process::Process::facts)
        .collect::<Result<Vec<_>>>()?;
    for idle in hogs.0.iter_mut().take(3) {
        idle.go()?;
        idle.said("touched")?;
    }
    let story = Story {
        scope: "container",
        limit_bytes: Some(64 * MIB),
        limit_cgroup: Some(&container.path),
        outcome: "container-died",
        trigger: victims.last().map(|victim| victim.pid),
        victims: &victims,
    };
    let greedy = hogs.0.last_mut().context("a hog")?;
    scene.play(&story, || greedy.go())
}

/// One container allocates, the pod's limit is hit, and another container dies.
fn pod_limit(scene: &mut Scene, args: &[&str], n: u32) -> Result<Value> {
    let pod = Group::burstable()?.pod(n)?.limit(96 * MIB)?;
    let (mut meek, mut greedy) = neighbours(&pod, args)?;
    let (meek, greedy) = (meek.first()?, greedy.first()?);
    let victims = [meek.facts()?];
    meek.go()?;
    meek.said("touched")?;
    let story = Story {
        scope: "pod",
        limit_bytes: Some(96 * MIB),
        limit_cgroup: Some(&pod.path),
        outcome: "container-died",
        trigger: Some(greedy.facts()?.pid),
        victims: &victims,
    };
    let told = scene.play(&story, || greedy.go())?;
    greedy.said("touched")?;
    // What lives on was there all the time: the pod's memory by kind is of the right cgroup.
    let anon = told
        .pointer("/told/memory/0/stat/anon")
        .and_then(Value::as_u64);
    if anon.is_none_or(|anon| anon < 40 * MIB) {
        bail!("the pod had at least 40 MiB of anon: {told}");
    }
    Ok(told)
}

/// The victim has been sent SIGKILL before, and could not take it.
fn already_exiting(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(13)?.limit(96 * MIB)?;
    let (mut meek, mut greedy) = neighbours(&pod, &["--mib", "50", "--gate", "--hold"])?;
    let (meek, greedy) = (meek.first()?, greedy.first()?);
    meek.go()?;
    meek.said("touched")?;
    let freezer = Freezer::mount()?;
    // The kernel thaws the one that it chooses, just before it tells whom: on one CPU the other
    // cannot get past that.
    meek.pin()?;
    greedy.pin()?;
    let (victim, trigger) = (meek.facts()?, greedy.facts()?);
    freezer.freeze(victim.pid)?;
    meek.kill()?;
    let victims = [victim];
    let story = Story {
        scope: "pod",
        limit_bytes: Some(96 * MIB),
        limit_cgroup: Some(&pod.path),
        outcome: "already-exiting",
        trigger: Some(trigger.pid),
        victims: &victims,
    };
    let told = scene.play_unreported(&story, || greedy.go())?;
    greedy.said("touched")?;
    Ok(told)
}

/// Two containers of a pod: one that is killed first, and one that is spared.
fn neighbours(pod: &Group, meek: &[&str]) -> Result<(Pack, Pack)> {
    let (first, second) = (pod.container(6)?.limit(80 * MIB)?, pod.container(7)?);
    let meek = start(&[Plan {
        oom_score_adj: 1000,
        ..plan(&first, meek)
    }])?;
    // Spared even when the other's memory is given back late.
    let greedy = start(&[Plan {
        oom_score_adj: -1000,
        ..plan(&second, &["--mib", "60", "--gate", "--hold"])
    }])?;
    Ok((meek, greedy))
}

/// The limit is that of all burstable pods together.
fn ancestor_limit(scene: &mut Scene) -> Result<Value> {
    let burstable = Group::burstable()?.limit(64 * MIB)?;
    let container = burstable.pod(8)?.container(8)?.limit(512 * MIB)?;
    let mut hogs = start(&[plan(&container, &["--mib", "200", "--gate"])])?;
    let hog = hogs.first()?;
    let victims = [hog.facts()?];
    let story = Story {
        scope: "ancestor",
        limit_bytes: Some(64 * MIB),
        limit_cgroup: Some(&burstable.path),
        outcome: "container-died",
        trigger: victims.first().map(|victim| victim.pid),
        victims: &victims,
    };
    scene.play(&story, || hog.go())
}

/// The pod's limit is hit while the victim's container stands at its own, too: an agent that hangs
/// nothing on the kernel's functions tells it by what the kernel counts.
fn counted_limit(scene: &mut Scene) -> Result<Value> {
    let mut unprobed = Scene::another(&["--probe", "tracepoints", "--env", "APP_*"])?;
    let pod = Group::burstable()?.pod(21)?.limit(96 * MIB)?;
    let (meek, greedy) = (pod.container(21)?.limit(52 * MIB)?, pod.container(22)?);
    let mut meek = start(&[Plan {
        oom_score_adj: 1000,
        ..plan(&meek, &["--mib", "50", "--gate", "--hold"])
    }])?;
    let mut greedy = start(&[Plan {
        oom_score_adj: -1000,
        ..plan(&greedy, &["--mib", "60", "--gate", "--hold"])
    }])?;
    let (meek, greedy) = (meek.first()?, greedy.first()?);
    meek.go()?;
    meek.said("touched")?;
    let victims = [meek.facts()?];
    let story = Story {
        scope: "pod",
        limit_bytes: Some(96 * MIB),
        limit_cgroup: Some(&pod.path),
        outcome: "container-died",
        trigger: Some(greedy.facts()?.pid),
        victims: &victims,
    };
    let probed = scene.play(&story, || greedy.go())?;
    let told = unprobed.incident_of(victims.first().context("a victim")?.pid, SOON)?;
    let part = |name: &str| probed.get(name).cloned().unwrap_or_default();
    let shown = |incident: &Value| {
        let fields = ["scope", "limit_bytes", "limit_cgroup", "oom"];
        let environment = incident.pointer("/victims/0/environment").cloned();
        let all = fields.map(|field| (field.to_owned(), incident.get(field).cloned()));
        let mut all = std::collections::BTreeMap::from(all);
        all.insert("environment".to_owned(), environment);
        serde_json::json!(all)
    };
    let mut expected = shown(&part("expected"));
    if let Some(oom) = expected.get_mut("oom") {
        *oom = Value::Null;
    }
    if let Some(environment) = expected.get_mut("environment") {
        *environment = serde_json::json!({"APP_NAME": "hog"});
    }
    Ok(serde_json::json!({
        "expected": {"probed": part("expected"), "counted": expected},
        "told": {"probed": part("told"), "counted": shown(&told)},
    }))
}

/// Nobody's limit: the machine is out of memory.
fn node_wide(scene: &mut Scene) -> Result<Value> {
    let container = Group::burstable()?.pod(9)?.container(9)?;
    let mut hogs = start(&[Plan {
        oom_score_adj: 1000,
        ..plan(&container, &["--mib", "4096", "--gate"])
    }])?;
    let hog = hogs.first()?;
    let victims = [hog.facts()?];
    let story = Story {
        scope: "node",
        limit_bytes: Some(memory()?),
        limit_cgroup: None,
        outcome: "container-died",
        // Whoever wants a page when there is none.
        trigger: None,
        victims: &victims,
    };
    scene.play(&story, || hog.go())
}

/// Somebody asks the kernel for a kill.
fn sysrq(scene: &mut Scene) -> Result<Value> {
    let container = Group::burstable()?.pod(10)?.container(10)?;
    let mut hogs = start(&[Plan {
        oom_score_adj: 1000,
        ..plan(&container, &["--mib", "64", "--gate", "--hold"])
    }])?;
    let hog = hogs.first()?;
    hog.go()?;
    hog.said("touched")?;
    let victims = [hog.facts()?];
    let story = Story {
        scope: "sysrq",
        limit_bytes: None,
        limit_cgroup: None,
        outcome: "container-died",
        // A kernel's worker does it.
        trigger: None,
        victims: &victims,
    };
    scene.play(&story, || {
        fs::write("/proc/sysrq-trigger", "f").context("write to /proc/sysrq-trigger")
    })
}

/// All of this machine's, in bytes; it has no swap.
pub(super) fn memory() -> Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    let kib: u64 = total.context("MemTotal")?.parse().context("MemTotal")?;
    Ok(kib.saturating_mul(1024))
}
