//! A container of one pod eats: whose setting that is, and who dies, depends on the pod.

use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use xtask::process::capture;

use super::plans::{CHILD_DIED, DIED, EATS, IDLES, LIMIT};
use crate::expect::anything;
use crate::guest::kill::ExpectedKill;
use crate::guest::node::event::ExpectedEvent;
use crate::guest::node::host::ctr;
use crate::guest::node::manifest::{ALLOCATABLE, ContainerPlan, Driver, Kind, PodPlan, hog};
use crate::guest::node::stage::{ExpectedReport, Stage};
use crate::guest::pods::MIB;

/// Puts so many MiB into the pod's volume.
const FILLS_28: &str = "exec dd if=/dev/zero of=/cache/file bs=1M count=28";
const FILLS_60: &str = "exec dd if=/dev/zero of=/cache/file bs=1M count=60";

/// As a web server's or a database's container: 300 processes beside the first one.
const MANY: &str = "for i in $(seq 300); do sleep 1000 & done;";

/// The cases of one pod.
pub(super) fn run(name: &str, stage: &mut Stage) -> Result<Value> {
    let eats = hog(0, EATS);
    let hungry = |name, limit| ContainerPlan::new(name, limit, &eats);
    let main = hungry("main", Some(LIMIT));
    let beside = |limit| ContainerPlan::new("beside", limit, IDLES);
    let fill = |limit, script| ContainerPlan::new("fill", Some(limit), script).kind(Kind::Init);
    let case = Case::MAIN;
    match name {
        // Another container has no limit, and so has the pod.
        "limit_beside_unlimited" => case.play(stage, &[beside(None), main]),
        // The sandbox has some pages, too: the pod's counter is full first.
        "one_limited_container" => case.at_the_pods().play(stage, &[main]),
        "systemd_names" => Case {
            driver: Driver::Systemd,
            ..case.at_the_pods()
        }
        .play(stage, &[main]),
        "two_of_which_one_is_hungry" => case.play(stage, &[beside(Some(LIMIT)), main]),
        // Kubernetes gives containers without a limit of their own the pod's.
        "pod_level_limit" => Case {
            pod_limit: Some(LIMIT),
            scope: "pod",
            event: ExpectedEvent {
                first: &["The pod", "main", "hog", "48 MiB"],
                next: "find which container grows",
                ..case.event
            },
            ..case.at_the_pods()
        }
        .play(stage, &[beside(None), hungry("main", None)]),
        "volume_of_one_container" => case
            .of_a_volume(&["28 MiB of the"])
            .play(stage, &[fill(LIMIT, FILLS_28), main]),
        // Neither container has come to its own limit.
        "volume_of_two_containers" => {
            let containers = [fill(2 * LIMIT, FILLS_60), beside(Some(LIMIT)), main];
            let case = Case {
                limit: 2 * LIMIT,
                ..case.of_a_volume(&["60 MiB of the"])
            };
            case.play(stage, &containers)
        }
        "native_sidecar" => {
            let mesh = hungry("mesh", Some(LIMIT)).kind(Kind::Sidecar);
            let case = case.of_container("mesh", "spec.initContainers{mesh}", "raise mesh's");
            case.play(stage, &[beside(Some(LIMIT)), mesh])
        }
        "init_container" => {
            let setup = hungry("setup", Some(LIMIT)).kind(Kind::Init);
            let case = case.of_container("setup", "spec.initContainers{setup}", "raise setup's");
            case.at_the_pods()
                .play(stage, &[setup, beside(Some(32 * MIB))])
        }
        // It has no limit, and the pod has that of the others.
        "ephemeral_container" => {
            let debug = hungry("debug", None).kind(Kind::Ephemeral);
            let case = case.of_container(
                "debug",
                "spec.ephemeralContainers{debug}",
                "find which container grows",
            );
            Case {
                scope: "pod",
                ..case.at_the_pods()
            }
            .play(stage, &[beside(Some(LIMIT)), debug])
        }
        // What all pods together may have is used up.
        "no_limit_below_kubepods" => Case {
            scope: "ancestor",
            limit: ALLOCATABLE,
            booked: Booked::Cgroup("/kubepods"),
            event: ExpectedEvent {
                first: &["hog", "main", "384 MiB"],
                next: "give",
                ..case.event
            },
            ..case
        }
        .play(stage, &[hungry("main", None)]),
        _ => run_others(name, stage),
    }
}

/// Those in which others than the first process die, too, or swap is full.
fn run_others(name: &str, stage: &mut Stage) -> Result<Value> {
    let (eats, parent) = (hog(0, EATS), hog(0, "--mib 4096 --child --hold"));
    let main = ContainerPlan::new("main", Some(LIMIT), &eats);
    let case = Case::MAIN;
    match name {
        // By `kubectl exec`.
        "executed_process" => Case {
            eater: Eater::Executed,
            ..case.of_a_child()
        }
        .play(stage, &[main.script(IDLES).single()]),
        "child_alone" => case
            .of_a_child()
            .play(stage, &[main.script(&parent).single()]),
        "child_with_its_group" => Case {
            eater: Eater::Child,
            ..case.at_the_pods()
        }
        .play(stage, &[main.script(&parent)]),
        // All are killed together.
        "many_processes" => {
            let script = format!("{MANY} {eats}");
            Case {
                limit: 2 * LIMIT,
                event: ExpectedEvent {
                    first: &["main", "96 MiB"],
                    contains: &["300 more"],
                    next: "raise main's resources.limits.memory above 96 MiB",
                    ..case.event
                },
                ..case.at_the_pods()
            }
            .play(
                stage,
                &[ContainerPlan::new("main", Some(2 * LIMIT), &script)],
            )
        }
        // A container may swap, and fills that, too.
        "swap_is_full_too" => {
            let _swap = Swap::turn_on()?;
            Case {
                event: ExpectedEvent {
                    contains: &["Swap was full, too"],
                    chars: 500,
                    ..case.event
                },
                ..case.at_the_pods()
            }
            .play(
                stage,
                &[ContainerPlan {
                    swap: 16 * MIB,
                    ..main
                }],
            )
        }
        _ => bail!("no case is called {name}"),
    }
}

/// One pod, of which a container eats until the kernel kills.
#[derive(Clone, Copy)]
struct Case<'a> {
    /// The container's name. Those before it are started first, and init containers run to their end.
    hungry: &'a str,
    driver: Driver,
    pod_limit: Option<u64>,
    volume: bool,
    scope: &'static str,
    limit: u64,
    booked: Booked,
    eater: Eater,
    outcome: &'static str,
    event: ExpectedEvent<'a>,
}

/// Which of a container's processes eats.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Eater {
    First,
    Child,
    Executed,
}

/// Whose counter the kernel found full.
#[derive(Clone, Copy)]
enum Booked {
    Container,
    Pod,
    Cgroup(&'static str),
}

/// A file on the disk to swap to, until this is dropped.
struct Swap;

// === impl Case ===

impl<'a> Case<'a> {
    /// Container `main` at its own limit.
    const MAIN: Self = Self {
        hungry: "main",
        driver: Driver::Cgroupfs,
        pod_limit: None,
        volume: false,
        scope: "container",
        limit: LIMIT,
        booked: Booked::Container,
        eater: Eater::First,
        outcome: "container-died",
        event: DIED,
    };

    fn at_the_pods(self) -> Self {
        Self {
            booked: Booked::Pod,
            ..self
        }
    }

    /// Another process than the first one eats, and dies alone.
    fn of_a_child(self) -> Self {
        Self {
            eater: Eater::Child,
            outcome: "child-died",
            event: CHILD_DIED,
            ..self.at_the_pods()
        }
    }

    /// Most of what is in use lies in a volume.
    fn of_a_volume(self, contains: &'a [&'a str]) -> Self {
        Self {
            volume: true,
            event: ExpectedEvent {
                contains,
                next: "find what fills it, and give the volume a sizeLimit",
                volumes: true,
                chars: 500,
                ..self.event
            },
            ..self.at_the_pods()
        }
    }

    fn of_container(self, hungry: &'a str, field_path: &'a str, next: &'a str) -> Self {
        Self {
            hungry,
            event: ExpectedEvent {
                field_path: Some(field_path),
                first: &["hog", "48 MiB"],
                next,
                ..self.event
            },
            ..self
        }
    }

    fn play(&self, stage: &mut Stage, containers: &[ContainerPlan<'_>]) -> Result<Value> {
        let pod = stage.kubelet.run(PodPlan {
            driver: self.driver,
            limit: self.pod_limit,
            volume: self.volume,
            ..PodPlan::new(containers)
        })?;
        for container in containers {
            if container.name == self.hungry {
                break;
            }
            if container.kind == Kind::Init {
                stage.kubelet.run_to_end(&pod, container.name)?;
            } else {
                stage.kubelet.start_container(&pod, container.name)?;
            }
        }
        let container = stage.kubelet.start_container(&pod, self.hungry)?;
        let executed = (self.eater == Eater::Executed).then(|| execute(&container.id));
        let mut hog = container.hog(u32::from(executed.is_some()))?;
        let eater = match self.eater {
            Eater::First => container.pid,
            Eater::Child | Eater::Executed => container.other_pid()?,
        };
        let plan = containers.iter().find(|plan| plan.name == self.hungry);
        let plan = plan.context("a container that eats")?;
        let victims = if plan.single {
            vec![eater]
        } else {
            container.pids()?
        };
        let victims = victims.into_iter().map(|pid| container.facts_of(pid));
        let victims = victims.collect::<Result<Vec<_>>>()?;
        let cgroup = match self.booked {
            Booked::Container => &container.group.path,
            Booked::Pod => &pod.group.path,
            Booked::Cgroup(path) => path,
        };
        let own = plan.limit.unwrap_or_default();
        let fields = match (self.booked, self.scope) {
            (Booked::Pod, "container") => {
                vec![container.setting(own), container.holder(MIB, plan.limit)]
            }
            (Booked::Pod, _) => vec![container.holder(MIB, self.pod_limit)],
            // Other pods hold something, too.
            (Booked::Cgroup(_), _) => vec![("holders", anything())],
            (Booked::Container, _) => Vec::new(),
        };
        let expected = ExpectedReport {
            kill: ExpectedKill {
                // Of what many share any process may want the page that is too much.
                trigger: match self.booked {
                    Booked::Cgroup(_) => None,
                    Booked::Container | Booked::Pod => Some(eater),
                },
                outcome: self.outcome,
                ..ExpectedKill::at_limit((self.scope, self.limit, cgroup), &victims)
            },
            fields,
            events: vec![pod.event(self.event)],
        };
        let mut outcome = stage.play(&expected, || hog.open_gate())?;
        if let Booked::Cgroup(_) = self.booked {
            // The others have less.
            let holders = outcome.pointer("/reported/incident/holders").cloned();
            let mut holders = holders
                .and_then(|it| it.as_array().cloned())
                .unwrap_or_default();
            holders.splice(
                ..holders.len().min(1),
                [pod.holder(&container, self.limit / 2)],
            );
            let expected = outcome.pointer_mut("/expected/incident/holders");
            *expected.context("what is expected")? = holders.into();
        }
        // It ends as its process does.
        drop(executed.map(JoinHandle::join));
        stage.kubelet.remove(&pod)?;
        Ok(outcome)
    }
}

/// Has a second hog eat in a container, as `kubectl exec` would.
fn execute(id: &str) -> JoinHandle<Result<String>> {
    let (id, script) = (id.to_owned(), hog(1, EATS));
    thread::spawn(move || {
        let exec = ["tasks", "exec", "--exec-id", "exec", &id];
        ctr(&[&exec[..], &["/bin/sh", "-c", &script]].concat())
    })
}

// === impl Swap ===

impl Swap {
    const AT: &str = "/var/swap";

    fn turn_on() -> Result<Self> {
        let to = format!("of={}", Self::AT);
        busybox(&["dd", "if=/dev/zero", "bs=1M", "count=64", &to])?;
        busybox(&["mkswap", Self::AT])?;
        busybox(&["swapon", Self::AT])?;
        Ok(Self)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // A later case that finds it on fails.
        let _ = busybox(&["swapoff", Self::AT]);
    }
}

fn busybox(args: &[&str]) -> Result<()> {
    capture(Command::new("/usr/bin/busybox").args(args)).map(drop)
}
