//! Pods of `OOMHero`'s users, of its first version and its third, and our example, with no more than their images
//! replaced: the application lives by its sidecar's signals, and dies without them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lab::{Cluster, Registry, wait};
use serde_json::{Value, json};
use xtask::process::capture;
use xtask::terminal;

use crate::support::oomhero::{Example, FIRST, THIRD};
use crate::support::{MIB, at, binary};
use crate::{PATIENCE, agent};

/// One of them, in a namespace of its own.
#[derive(Clone, Copy)]
struct Pod {
    example: Example,
    namespace: &'static str,
    name: &'static str,
    app: &'static str,
    /// In MiB: the limit, and where it is warned and alarmed.
    limit: u64,
    marks: [u64; 2],
}

const OF_THE_FIRST: Pod = Pod {
    example: FIRST,
    namespace: "first",
    name: "by-variables",
    app: "app",
    limit: 256,
    marks: [167, 231],
};

const OF_THE_THIRD: Pod = Pod {
    example: THIRD,
    namespace: "third",
    name: "by-expressions",
    limit: 512,
    marks: [384, 461],
    ..OF_THE_FIRST
};

const OURS: Pod = Pod {
    example: Example {
        file: "deploy/sidecar.yaml",
        images: ["your-app:latest", xtask::image::SIDECAR_NAME],
    },
    namespace: "ours",
    name: "my-application",
    ..OF_THE_THIRD
};

/// Without its sidecar.
const ALONE: Pod = Pod {
    namespace: "alone",
    ..OF_THE_FIRST
};

/// As all three call it.
const SIDECAR: &str = "oomhero";

/// Of a MiB that was eaten, some more is charged for the program itself; and until it is signalled,
/// it eats on.
const OFF: u64 = 24;

pub(crate) fn applications_survive(cluster: &Cluster) {
    let (sidecar, bloat) = (binary("OOM_AGENT_SIDECAR_IMAGE"), binary("BLOAT_IMAGE"));
    let images = [("oom-agent-sidecar", &*sidecar), ("bloat", &*bloat)];
    let registry = cluster.registry(&images).unwrap();
    let lucky = [OF_THE_FIRST, OF_THE_THIRD, OURS];
    for pod in lucky {
        pod.apply(cluster, &pod.manifest(&registry));
    }
    let mut alone: Value = serde_saphyr::from_str(&ALONE.manifest(&registry)).unwrap();
    alone["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .truncate(1);
    ALONE.apply(cluster, &alone.to_string());
    for pod in lucky {
        pod.survives(cluster);
    }
    wait::until(
        "the end of the application without a sidecar",
        PATIENCE,
        || {
            let status = ALONE.status(cluster, ALONE.app)?;
            let ended = ["/state", "/lastState"].map(|when| format!("{when}/terminated/reason"));
            let mut reasons = ended.iter().filter_map(|ended| status.pointer(ended));
            reasons.any(|reason| reason == "OOMKilled").then_some(())
        },
    )
    .unwrap();
    terminal::line("the same application without a sidecar: OOMKilled");
    // Else it would eat again, and what comes after has a CPU less.
    let mut kubectl = cluster.api.kubectl();
    kubectl.args(["delete", "pod", ALONE.name, "--now", "--wait=false"]);
    capture(kubectl.args(["--namespace", ALONE.namespace])).unwrap();
}

/// The time that is left by the first line of a warning, in seconds.
fn forecast(log: &str) -> Option<f64> {
    let warning = log.lines().find(|line| line.contains("warning: signal"))?;
    let (_, forecast) = warning.split_once("forecast_seconds=")?;
    forecast.split(' ').next()?.parse().ok()
}

// === impl Pod ===

impl Pod {
    fn manifest(&self, registry: &Registry) -> String {
        let ours = ["bloat", "oom-agent-sidecar"].map(|name| registry.image(name));
        self.example
            .with_images(ours.each_ref().map(String::as_str))
    }

    fn apply(&self, cluster: &Cluster, manifest: &str) {
        let kubectl = |args: &[&str]| capture(cluster.api.kubectl().args(args)).unwrap();
        kubectl(&["create", "namespace", self.namespace]);
        let account = format!(
            "/api/v1/namespaces/{}/serviceaccounts/default",
            self.namespace
        );
        wait::until("a namespace's service account", PATIENCE, || {
            cluster.api.get(&account).ok()
        })
        .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pod.yaml");
        fs::write(&file, manifest).unwrap();
        let file = file.to_str().unwrap();
        kubectl(&["apply", "--namespace", self.namespace, "--filename", file]);
    }

    fn survives(&self, cluster: &Cluster) {
        let warned = self.mib_at(cluster, "warned at ");
        let let_go = self.mib_at(cluster, "let go at ");
        for (mib, mark) in [warned, let_go].into_iter().zip(self.marks) {
            let near = mark - OFF..mark + OFF;
            assert!(
                near.contains(&mib),
                "{mib} MiB, {mark} expected: {}",
                self.logs(cluster)
            );
        }
        let probed = self.example.text().contains("livenessProbe:");
        wait::until("the memory back, and a probe after that", PATIENCE, || {
            let lines = self.log(cluster, self.app)?;
            let (_, since) = lines.split_once("let go at ")?;
            (!probed || since.contains(" live")).then_some(())?;
            let pid = agent::container_pid(cluster, &self.status(cluster, self.app)?);
            let left = agent::memory(pid, "memory.usage_in_bytes", "memory.current")?;
            (left < self.limit * MIB / 4).then_some(())
        })
        .unwrap();
        let pod = cluster.api.get(&self.path()).unwrap();
        let statuses = at(&pod, "/status/containerStatuses").as_array().unwrap();
        assert_eq!(statuses.len(), 2, "{pod:#}");
        for status in statuses {
            assert_eq!(status["restartCount"], 0, "{status:#}");
            assert_eq!(status["lastState"], json!({}), "{status:#}");
            assert!(status["state"]["running"].is_object(), "{status:#}");
        }
        let log = self.log(cluster, SIDECAR).unwrap();
        for level in ["warning", "critical"] {
            let sent = log.matches(&format!("{level}: signal sent")).count();
            assert_eq!(sent, 1, "{log}");
        }
        let forecast = forecast(&log).unwrap_or_else(|| panic!("no forecast in {log}"));
        terminal::line(format_args!(
            "{}: warned at {warned} and let go at {let_go} of {} MiB, and lives; it had {forecast:.1} s by the warning",
            self.example.file, self.limit
        ));
        let [mark, _] = self.marks;
        // 20 MiB in a second, or far fewer on a busy machine.
        let expected = Duration::from_millis((self.limit - mark) * 50).as_secs_f64();
        let near = expected / 2.0..expected * 30.0;
        assert!(near.contains(&forecast), "{expected} s expected: {log}");
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.name)
    }

    fn status(&self, cluster: &Cluster, container: &str) -> Option<Value> {
        let pod = cluster.api.get(&self.path()).ok()?;
        let statuses = pod
            .pointer("/status/containerStatuses")?
            .as_array()?
            .clone();
        statuses
            .into_iter()
            .find(|status| status["name"] == container)
    }

    /// How many MiB the application had at that line.
    fn mib_at(&self, cluster: &Cluster, what: &str) -> u64 {
        let found = wait::until(&format!("{what}in {}", self.example.file), PATIENCE, || {
            let log = self.log(cluster, self.app)?;
            let (_, rest) = log.split_once(what)?;
            rest.split_once(" MiB\n")?.0.parse().ok()
        });
        found.unwrap_or_else(|error| panic!("{error:#}\n{}", self.logs(cluster)))
    }

    /// As the container runtime keeps it: of a container that was not restarted.
    fn log(&self, cluster: &Cluster, container: &str) -> Option<String> {
        let pods = fs::read_dir(cluster.pod_logs()).unwrap().flatten();
        let ours = format!("{}_{}_", self.namespace, self.name);
        let mut pods = pods.filter(|pod| pod.file_name().to_str().unwrap().starts_with(&ours));
        let log: PathBuf = pods.next()?.path().join(container).join("0.log");
        fs::read_to_string(log).ok()
    }

    /// For an error.
    fn logs(&self, cluster: &Cluster) -> String {
        let logs = [self.app, SIDECAR].map(|container| self.log(cluster, container));
        let pod = cluster.api.get(&self.path());
        format!(
            "{}\n{pod:#?}",
            logs.map(Option::unwrap_or_default).join("\n")
        )
    }
}
