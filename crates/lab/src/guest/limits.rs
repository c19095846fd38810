//! Whose limit it was, and so whose setting: cgroups as a kubelet makes them, and others.

use std::fs;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};

use super::pods::{Group, ROOT, delegate};
use super::process::{Pack, Plan, SOON, start, start_on_host};
use super::scene::{Scene, Story};
use crate::expect::{anything, between};

const MIB: u64 = 1 << 20;

fn plan<'a>(group: &'a Group, args: &'a [&'a str]) -> Plan<'a> {
    Plan {
        group,
        args,
        uid: 0,
        oom_score_adj: 0,
    }
}

/// A process that lives on and holds `mib`: as a sandbox's, or of another container.
fn holding(group: &Group, mib: &str) -> Result<Pack> {
    let mut pack = start(&[Plan {
        oom_score_adj: -1000,
        ..plan(group, &["--mib", mib, "--gate", "--hold"])
    }])?;
    let process = pack.first()?;
    process.go()?;
    process.said("touched")?;
    Ok(pack)
}

/// A story of one victim that sets the OOM killer off itself, and what is expected beside: `more` are
/// JSON pointers and values.
fn play(
    scene: &mut Scene,
    container: &Group,
    (scope, limit, cgroup): (&'static str, u64, &str),
    more: &[(&str, Value)],
) -> Result<Value> {
    let mut hogs = start(&[plan(container, &["--mib", "200", "--gate"])])?;
    let hog = hogs.first()?;
    let victims = [hog.facts()?];
    let story = Story {
        scope,
        limit_bytes: Some(limit),
        limit_cgroup: Some(cgroup),
        outcome: "container-died",
        trigger: victims.first().map(|victim| victim.pid),
        victims: &victims,
    };
    let mut told = scene.play(&story, || hog.go())?;
    expect(&mut told, more)?;
    Ok(told)
}

/// What is expected at those JSON pointers.
fn expect(told: &mut Value, more: &[(&str, Value)]) -> Result<()> {
    for (pointer, value) in more {
        let at = told.pointer_mut(&format!("/expected{pointer}"));
        at.with_context(|| format!("{pointer} is expected"))?
            .clone_from(value);
    }
    Ok(())
}

/// A cgroup that holds from `low` to `high` MiB, of the container and pod that `of` is.
fn holder(path: &str, low: u64, high: u64, limit: Option<u64>, of: &Group) -> Value {
    json!({
        "cgroup": path,
        "usage_bytes": between(low * MIB, high * MIB),
        "limit_bytes": limit,
        "process": null,
        "container": of.container.as_ref().map(|id| json!({"id": id, "name": null, "runtime": null})),
        "pod": of.pod.as_ref().map(|uid| json!({"namespace": null, "name": null, "uid": uid})),
    })
}

fn setting(group: &Group, limit: u64) -> Value {
    json!({"cgroup": group.path, "limit_bytes": limit})
}

/// The pod of one container has that one's limit, and its sandbox some pages: the kernel counts the
/// OOM at the pod. One agent is told so by the kernel, another by its counts.
pub(super) fn same_limit(scene: &mut Scene) -> Result<Value> {
    let mut unprobed = Scene::another(&["--probe", "tracepoints"])?;
    let pod = Group::burstable()?.pod(31)?.limit(48 * MIB)?;
    let container = pod.container(31)?.limit(48 * MIB)?.die_as_one()?;
    let _sandbox = holding(&pod.container(32)?, "0")?;
    let holders = json!([holder(&container.path, 40, 48, Some(48 * MIB), &container)]);
    let more = [
        ("/setting", setting(&container, 48 * MIB)),
        ("/holders", holders),
    ];
    let probed = play(scene, &container, ("container", 48 * MIB, &pod.path), &more)?;
    let part = |name: &str| probed.get(name).cloned().unwrap_or_default();
    let pid = part("told");
    let pid = pid.pointer("/victims/0/pid").and_then(Value::as_u64);
    let pid = u32::try_from(pid.context("a victim")?)?;
    let counted = unprobed.incident_of(pid, SOON)?;
    let shown = |incident: &Value| {
        let fields = ["scope", "limit_bytes", "limit_cgroup", "setting", "holders"];
        let all = fields.map(|field| (field.to_owned(), incident.get(field).cloned()));
        json!(std::collections::BTreeMap::from(all))
    };
    Ok(json!({
        "expected": {"probed": part("expected"), "counted": shown(&part("expected"))},
        "told": {"probed": part("told"), "counted": shown(&counted)},
    }))
}

/// The pod has the sum of two limits, and both containers are full.
pub(super) fn sum_of_limits(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(33)?.limit(96 * MIB)?;
    let (hungry, other) = (
        pod.container(33)?.limit(48 * MIB)?,
        pod.container(34)?.limit(48 * MIB)?,
    );
    let _other = holding(&other, "47")?;
    // More than is left of the other's limit, so that the pod's is reached first.
    let sandbox = pod.container(35)?;
    let _sandbox = holding(&sandbox, "2")?;
    let holders = [
        holder(&other.path, 47, 48, Some(48 * MIB), &other),
        holder(&hungry.path, 45, 47, Some(48 * MIB), &hungry),
        holder(&sandbox.path, 2, 3, None, &sandbox),
    ];
    let holders = json!(holders);
    let more = [
        ("/setting", setting(&hungry, 48 * MIB)),
        ("/holders", holders),
    ];
    play(scene, &hungry, ("container", 96 * MIB, &pod.path), &more)
}

/// A limit of the pod's own: the kubelet gives it to each container that has none.
pub(super) fn pod_level_limit(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(36)?.limit(64 * MIB)?;
    let (hungry, other) = (
        pod.container(36)?.limit(64 * MIB)?,
        pod.container(37)?.limit(64 * MIB)?,
    );
    let _other = holding(&other, "20")?;
    let holders = json!([
        holder(&hungry.path, 38, 45, Some(64 * MIB), &hungry),
        holder(&other.path, 19, 22, Some(64 * MIB), &other),
    ]);
    play(
        scene,
        &hungry,
        ("pod", 64 * MIB, &pod.path),
        &[("/holders", holders)],
    )
}

/// An init container has filled a memory-backed volume and has gone: its files count on the pod.
pub(super) fn volume_decides(scene: &mut Scene) -> Result<Value> {
    const VOLUME: &str = "/tmp/volume";
    let pod = Group::burstable()?.pod(38)?.limit(64 * MIB)?;
    let container = pod.container(38)?.limit(64 * MIB)?;
    fs::create_dir(VOLUME).context("make a directory for a volume")?;
    mount("tmpfs", VOLUME, "tmpfs", MountFlags::empty(), None).context("mount a volume")?;
    let init = pod.container(39)?.limit(64 * MIB)?;
    init.enter(std::process::id())?;
    let filled = fs::File::create(format!("{VOLUME}/file"))
        .and_then(|mut file| (0..40 << 7).try_for_each(|_| file.write_all(&[1; 8 << 10])));
    fs::write(
        format!("{ROOT}/cgroup.procs"),
        std::process::id().to_string(),
    )
    .context("leave the init container")?;
    filled.context("fill a volume")?;
    fs::remove_dir(init.dir()).context("remove the init container")?;
    let holders = json!([holder(&container.path, 18, 24, Some(64 * MIB), &container)]);
    let more = [
        ("/setting", setting(&container, 64 * MIB)),
        ("/holders", holders),
        // Old kernels count it in batches.
        ("/memory/0/stat/shmem", between(39 * MIB, 41 * MIB)),
    ];
    let told = play(scene, &container, ("container", 64 * MIB, &pod.path), &more);
    unmount(VOLUME, UnmountFlags::DETACH).context("unmount a volume")?;
    told
}

/// The limit is that of a cgroup within the container, as Docker in a pod sets it.
pub(super) fn nested_limit(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(40)?;
    let container = pod.container(40)?.limit(96 * MIB)?;
    delegate(&container.path)?;
    let inner = Group {
        pod: container.pod.clone(),
        container: container.container.clone(),
        ..Group::plain(&format!("{}/inner", container.path))?
    };
    let inner = inner.limit(32 * MIB)?;
    play(
        scene,
        &inner,
        ("nested", 32 * MIB, &inner.path),
        &[("/before", anything())],
    )
}

/// All pods together reach what the kubelet leaves them, and one without a limit holds most of it.
pub(super) fn all_pods_limit(scene: &mut Scene) -> Result<Value> {
    let burstable = Group::burstable()?;
    let kubepods = "/kubepods";
    fs::write(
        format!("{ROOT}{kubepods}/memory.max"),
        (128 * MIB).to_string(),
    )
    .context("limit all pods")?;
    let (large, struck) = (burstable.pod(41)?, burstable.pod(42)?);
    let hog = large.container(41)?;
    let _large = holding(&hog, "80")?;
    let container = struck.container(42)?.limit(512 * MIB)?;
    let holders = json!([
        holder(&large.path, 79, 84, None, &hog),
        holder(&struck.path, 38, 48, None, &container),
    ]);
    play(
        scene,
        &container,
        ("ancestor", 128 * MIB, kubepods),
        &[("/holders", holders)],
    )
}

/// Somebody sets a limit below what is in use, and the kernel kills in that one's context.
pub(super) fn lowered_limit(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(43)?;
    let container = pod.container(43)?.limit(128 * MIB)?;
    let mut hogs = start(&[plan(&container, &["--mib", "60", "--gate", "--hold"])])?;
    let hog = hogs.first()?;
    hog.go()?;
    hog.said("touched")?;
    let victims = [hog.facts()?];
    let story = Story {
        scope: "container",
        limit_bytes: Some(32 * MIB),
        limit_cgroup: Some(&container.path),
        outcome: "container-died",
        trigger: Some(std::process::id()),
        victims: &victims,
    };
    let mut told = scene.play(&story, || {
        container.set("memory.max", &(32 * MIB).to_string())
    })?;
    let held = || between(58 * MIB, 64 * MIB);
    expect(
        &mut told,
        &[
            ("/limit_lowered", json!(true)),
            ("/memory/0/usage_bytes", held()),
            ("/memory/0/peak_bytes", held()),
            ("/before", anything()),
        ],
    )?;
    Ok(told)
}

/// A process of the host fills the node, and a container that the kernel prefers dies for it.
pub(super) fn node_bystander(scene: &mut Scene) -> Result<Value> {
    // More than the estimate of what is left can be wrong.
    const MARGIN: u64 = 60;
    let container = Group::burstable()?.pod(44)?.container(44)?;
    let (pod, _) = container.path.rsplit_once('/').context("a pod")?;
    let system = Group::plain("/system")?;
    let bystander = (2 * MARGIN).to_string();
    let mut bystander = start(&[Plan {
        oom_score_adj: 1000,
        ..plan(&container, &["--mib", &bystander, "--gate", "--hold"])
    }])?;
    let bystander = bystander.first()?;
    bystander.go()?;
    bystander.said("touched")?;
    let mib = (available()? / MIB + MARGIN).to_string();
    let mut hog = start_on_host(plan(&system, &["--mib", &mib, "--gate", "--hold"]))?;
    let victims = [bystander.facts()?];
    let pid = hog.facts()?.pid;
    let story = Story {
        scope: "node",
        limit_bytes: Some(super::cases::memory()?),
        limit_cgroup: None,
        outcome: "container-died",
        trigger: None,
        victims: &victims,
    };
    let mut told = scene.play(&story, || hog.go())?;
    hog.said("touched")?;
    let mut largest = holder(&system.path, 100, 512, None, &system);
    if let Some(process) = largest.get_mut("process") {
        *process = json!({
            "pid": pid, "comm": "hog", "oom_score_adj": 0, "rss_bytes": between(100 * MIB, 512 * MIB),
        });
    }
    let held = holder(pod, 2 * MARGIN - 2, 2 * MARGIN + 8, None, &container);
    expect(&mut told, &[("/holders", json!([largest, held]))])?;
    Ok(told)
}

/// What the kernel thinks can be had, in bytes.
fn available() -> Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = kib
        .context("MemAvailable")?
        .parse()
        .context("MemAvailable")?;
    Ok(kib.saturating_mul(1024))
}
