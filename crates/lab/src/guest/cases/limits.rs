//! Whose limit it was, and so whose setting: cgroups as a kubelet makes them, and others.

use std::fs;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};

use crate::expect::{anything, between};
use crate::guest::kill::{ExpectedKill, Limit};
use crate::guest::memory::meminfo;
use crate::guest::pods::{Group, MIB, delegate};
use crate::guest::process::{Plan, Process, start_holding, start_on_host};
use crate::guest::scene::{Scene, expect, select};
use crate::wait::HANG;

/// A process that lives on and holds `mib`, such as a sandbox's.
fn start_bystander(group: &Group, mib: &str) -> Result<Process> {
    start_holding(Plan::new(group, &["--mib", mib, "--gate", "--hold"]).spared())
}

/// A process fills a limit, and what is expected beside: `more` are JSON pointers and values.
fn play(
    scene: &mut Scene,
    container: &Group,
    limit: Limit<'_>,
    more: &[(&str, Value)],
) -> Result<Value> {
    let plan = Plan::new(container, &["--mib", "200", "--gate"]);
    let mut outcome = scene.play_filling(plan, limit)?;
    expect(&mut outcome, more)?;
    Ok(outcome)
}

/// A cgroup that holds from `low` to `high` MiB, in `container` and its pod.
fn holder(path: &str, low: u64, high: u64, limit: Option<u64>, container: &Group) -> Value {
    json!({
        "cgroup": path,
        "usage_bytes": between(low * MIB, high * MIB),
        "limit_bytes": limit,
        "process": null,
        "container": container.container_json(),
        "pod": container.pod_json(),
    })
}

fn setting(group: &Group, limit: u64) -> Value {
    json!({"cgroup": group.path, "limit_bytes": limit})
}

/// The pod of one container has that one's limit, and its sandbox some pages: the kernel counts the
/// OOM at the pod. One agent learns that from the kernel's function, another from its counts.
pub(super) fn same_limit(scene: &mut Scene) -> Result<Value> {
    let mut unprobed = Scene::start_agent(&["--probe", "tracepoints"])?;
    let pod = Group::burstable()?.pod(31)?.limit(48 * MIB)?;
    let container = pod.container(31)?.limit(48 * MIB)?.kill_as_group()?;
    let _sandbox = start_bystander(&pod.container(32)?, "0")?;
    let holders = json!([holder(&container.path, 40, 48, Some(48 * MIB), &container)]);
    let more = [
        ("/setting", setting(&container, 48 * MIB)),
        ("/holders", holders),
    ];
    let probed = play(scene, &container, ("container", 48 * MIB, &pod.path), &more)?;
    let part = |name: &str| probed.get(name).cloned().unwrap_or_default();
    let pid = probed.pointer("/reported/victims/0/pid");
    let pid = u32::try_from(pid.and_then(Value::as_u64).context("a victim")?)?;
    let counted = unprobed.incident_of(pid, HANG)?;
    let fields = ["scope", "limit_bytes", "limit_cgroup", "setting", "holders"];
    Ok(json!({
        "expected": {"probed": part("expected"), "counted": select(&part("expected"), &fields)},
        "reported": {"probed": part("reported"), "counted": select(&counted, &fields)},
    }))
}

/// The pod has the sum of two limits, and both containers are full.
pub(super) fn sum_of_limits(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(33)?.limit(96 * MIB)?;
    let (hungry, other) = (
        pod.container(33)?.limit(48 * MIB)?,
        pod.container(34)?.limit(48 * MIB)?,
    );
    let _other = start_bystander(&other, "47")?;
    // More than is left of the other's limit, so that the pod's is reached first.
    let sandbox = pod.container(35)?;
    let _sandbox = start_bystander(&sandbox, "2")?;
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
    let _other = start_bystander(&other, "20")?;
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
    let this = std::process::id();
    init.enter(this)?;
    let filled = fs::File::create(format!("{VOLUME}/file"))
        .and_then(|mut file| (0..40 << 7).try_for_each(|_| file.write_all(&[1; 8 << 10])));
    Group::existing("").enter(this)?;
    filled.context("fill a volume")?;
    fs::remove_dir(init.dir()).context("remove the init container")?;
    let holders = json!([holder(&container.path, 18, 24, Some(64 * MIB), &container)]);
    let more = [
        ("/setting", setting(&container, 64 * MIB)),
        ("/holders", holders),
        // Old kernels count it in batches.
        ("/memory/0/stat/shmem", between(39 * MIB, 41 * MIB)),
    ];
    let outcome = play(scene, &container, ("container", 64 * MIB, &pod.path), &more);
    unmount(VOLUME, UnmountFlags::DETACH).context("unmount a volume")?;
    outcome
}

/// The limit is that of a cgroup within the container, as Docker in a pod sets it.
pub(super) fn nested_limit(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(40)?;
    let container = pod.container(40)?.limit(96 * MIB)?;
    delegate(&container.path)?;
    let inner = container.child("inner")?.limit(32 * MIB)?;
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
    let kubepods = Group::existing("/kubepods").limit(128 * MIB)?;
    let (large, small) = (burstable.pod(41)?, burstable.pod(42)?);
    let hog = large.container(41)?;
    let _large = start_bystander(&hog, "80")?;
    let container = small.container(42)?.limit(512 * MIB)?;
    let holders = json!([
        holder(&large.path, 79, 84, None, &hog),
        holder(&small.path, 38, 48, None, &container),
    ]);
    play(
        scene,
        &container,
        ("ancestor", 128 * MIB, &kubepods.path),
        &[("/holders", holders)],
    )
}

/// A limit is set below what is in use, and the kernel kills in the context of who sets it.
pub(super) fn lowered_limit(scene: &mut Scene) -> Result<Value> {
    let container = Group::single_container(43)?.limit(128 * MIB)?;
    let args = ["--mib", "60", "--gate", "--hold"];
    let hog = start_holding(Plan::new(&container, &args))?;
    let victims = [hog.facts()?];
    let kill = ExpectedKill {
        trigger: Some(std::process::id()),
        ..ExpectedKill::at_limit(("container", 32 * MIB, &container.path), &victims)
    };
    let mut outcome = scene.play(&kill, || container.set("memory.max", 32 * MIB))?;
    let held = || between(58 * MIB, 64 * MIB);
    expect(
        &mut outcome,
        &[
            ("/limit_lowered", json!(true)),
            ("/memory/0/usage_bytes", held()),
            ("/memory/0/peak_bytes", held()),
            ("/before", anything()),
        ],
    )?;
    Ok(outcome)
}

/// A process of the host fills the node, and a container that the kernel prefers dies for it.
pub(super) fn node_bystander(scene: &mut Scene) -> Result<Value> {
    // More than the estimate of what is left can be wrong.
    const MARGIN: u64 = 60;
    let container = Group::single_container(44)?;
    let (pod, _) = container.path.rsplit_once('/').context("a pod")?;
    let system = Group::create("/system")?;
    let mib = (2 * MARGIN).to_string();
    let args = ["--mib", &mib, "--gate", "--hold"];
    let bystander = start_holding(Plan::new(&container, &args).preferred())?;
    let mib = (meminfo("MemAvailable:")? / MIB + MARGIN).to_string();
    let mut hog = start_on_host(Plan::new(&system, &["--mib", &mib, "--gate", "--hold"]))?;
    let victims = [bystander.facts()?];
    let pid = hog.facts()?.pid;
    let kill = ExpectedKill::without_limit("node", Some(meminfo("MemTotal:")?), &victims);
    let mut outcome = scene.play(&kill, || hog.open_gate())?;
    hog.wait_for_line("touched")?;
    let mut largest = holder(&system.path, 100, 512, None, &system);
    if let Some(process) = largest.get_mut("process") {
        *process = json!({
            "pid": pid, "comm": "hog", "oom_score_adj": 0, "rss_bytes": between(100 * MIB, 512 * MIB),
        });
    }
    let held = holder(pod, 2 * MARGIN - 2, 2 * MARGIN + 8, None, &container);
    expect(&mut outcome, &[("/holders", json!([largest, held]))])?;
    Ok(outcome)
}
