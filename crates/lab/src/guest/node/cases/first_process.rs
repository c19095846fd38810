//! A container's first process eats: whose setting that is, depends on the pod.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::plans::{DIED, EATS, IDLES, LIMIT};
use crate::expect::anything;
use crate::guest::kill::ExpectedKill;
use crate::guest::node::container::Container;
use crate::guest::node::event::ExpectedEvent;
use crate::guest::node::kubelet::Pod;
use crate::guest::node::manifest::{ALLOCATABLE, ContainerPlan, Driver, Kind, PodPlan, hog};
use crate::guest::node::stage::{ExpectedReport, Stage};
use crate::guest::pods::MIB;
use crate::guest::process::{Facts, Hog};

/// Puts so many MiB into the pod's volume.
const FILLS_28: &str = "exec dd if=/dev/zero of=/cache/file bs=1M count=28";
const FILLS_60: &str = "exec dd if=/dev/zero of=/cache/file bs=1M count=60";

/// The cases in which a container's first process eats.
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
        _ => bail!("no case is called {name}"),
    }
}

/// One pod, of which a container's first process eats until it is killed.
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
    event: ExpectedEvent<'a>,
}

/// Whose counter the kernel found full.
#[derive(Clone, Copy)]
enum Booked {
    Container,
    Pod,
    Cgroup(&'static str),
}

/// A container whose first process is a hog at its gate.
pub(super) struct Hungry {
    pub(super) container: Container,
    pub(super) hog: Hog,
    pub(super) victims: Vec<Facts>,
}

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
        event: DIED,
    };

    fn at_the_pods(self) -> Self {
        Self {
            booked: Booked::Pod,
            ..self
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
        let mut hungry = Hungry::start(stage, &pod, self.hungry)?;
        let cgroup = match self.booked {
            Booked::Container => hungry.container.group.path.clone(),
            Booked::Pod => pod.group.path.clone(),
            Booked::Cgroup(path) => path.to_owned(),
        };
        let container = &hungry.container;
        let fields = match (self.booked, self.scope) {
            (Booked::Pod, "container") => {
                vec![container.setting(LIMIT), container.holder(MIB, Some(LIMIT))]
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
                    Booked::Container | Booked::Pod => Some(container.pid),
                },
                ..ExpectedKill::at_limit((self.scope, self.limit, &cgroup), &hungry.victims)
            },
            fields,
            events: vec![pod.event(self.event)],
        };
        let mut outcome = stage.play(&expected, || hungry.hog.open_gate())?;
        if let Booked::Cgroup(_) = self.booked {
            // The others have less.
            let holders = outcome.pointer("/reported/incident/holders").cloned();
            let mut holders = holders
                .and_then(|it| it.as_array().cloned())
                .unwrap_or_default();
            holders.splice(
                ..holders.len().min(1),
                [pod.holder(container, self.limit / 2)],
            );
            let expected = outcome.pointer_mut("/expected/incident/holders");
            *expected.context("what is expected")? = holders.into();
        }
        stage.kubelet.remove(&pod)?;
        Ok(outcome)
    }
}

// === impl Hungry ===

impl Hungry {
    pub(super) fn start(stage: &mut Stage, pod: &Pod<'_>, name: &str) -> Result<Self> {
        let container = stage.kubelet.start_container(pod, name)?;
        let hog = container.hog(0)?;
        Ok(Self {
            victims: vec![container.facts()?],
            container,
            hog,
        })
    }
}
