//! The manifest as shipped in a real cluster: what the agent reports of each way
//! that a pod can be OOM-killed in, how soon, and with which rights.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod agent;
mod case;
mod rights;
mod sidecar;
mod signals;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use agent::ready_agent;
use case::CASES;
use lab::{Cluster, wait};
use serde_json::json;
use support::{at, binary};
use xtask::cache::Cache;
use xtask::debian::{Consent, Debian};
use xtask::process::capture;
use xtask::{terminal, workspace};

/// For what a scheduler and a kubelet have to do.
const PATIENCE: Duration = wait::HANG;

const ACCOUNT: &str = "system:serviceaccount:oom-bonker:oom-agent";

#[test]
fn the_manifest_as_shipped_reports_every_hungry_pod() {
    let start = Instant::now();
    let cache = Cache::open().unwrap();
    let parts = Cluster::prepare(&cache, Debian::new(Consent::Confirm).unwrap()).unwrap();
    let cluster = Cluster::start(&parts).unwrap();
    terminal::line(format_args!(
        "{:.1?} until the cluster's node was ready",
        start.elapsed()
    ));
    cluster
        .containerd
        .import(&binary("OOM_AGENT_IMAGE"))
        .unwrap();
    apply(&cluster, "daemonset.yaml");
    let agent = ready_agent(&cluster);
    terminal::line(format_args!(
        "{:.1?} until the agent's pod was ready",
        start.elapsed()
    ));
    rights::are_those_of_the_manifest(&cluster, &agent);

    apply(&cluster, "deploy/hungry/00-namespace.yaml");
    wait::until("the namespace's service account", PATIENCE, || {
        let path = "/api/v1/namespaces/hungry/serviceaccounts/default";
        cluster.api.get(path).ok()
    })
    .unwrap();
    for case in &CASES {
        apply(&cluster, &format!("deploy/hungry/{}.yaml", case.pod));
        case.check_reports(&cluster);
    }
    let [.., missed] = &CASES;
    wait::until("the verdict on the last pod", PATIENCE, || {
        missed.verdicts(&cluster).pop()
    })
    .unwrap();
    // After all of it: had there been a second story of any, it would have come.
    for case in &CASES {
        assert_eq!(case.incidents(&cluster).len(), 1, "lines on {}", case.pod);
        assert_eq!(case.events(&cluster).len(), 1, "Events on {}", case.pod);
        if case.reported_by_kubelet {
            assert_eq!(case.verdicts(&cluster), [""; 0], "{}", case.pod);
        } else {
            assert_eq!(case.verdicts(&cluster), ["OOMKillMissed"], "{}", case.pod);
            let pod = cluster.api.get(&case.path()).unwrap();
            assert_eq!(*at(&pod, "/status/phase"), json!("Running"));
            assert_eq!(case.reported_by_kubelet(&cluster), None, "{pod:#}");
            terminal::line(format_args!("{}: the kubelet never reports", case.pod));
        }
    }
    sidecar::applications_survive(&cluster);
    rights::requests_are_those_of_the_manifest(&cluster);
    agent::memory_is_within_the_request(&cluster, &agent);
    let warnings = agent::warnings(&cluster);
    let of_procfs = |warning: &String| warning.contains("procfs");
    assert!(!warnings.iter().any(of_procfs), "{warnings:#?}");
    let agent = ready_agent(&cluster);
    assert_eq!(
        *at(&agent, "/status/containerStatuses/0/restartCount"),
        json!(0)
    );
    signals::a_pod_annotated_for_signals_lives_by_them(&cluster, &agent);
    terminal::line(format_args!("{:.1?} in all", start.elapsed()));
}

fn apply(cluster: &Cluster, manifest: &str) {
    let mut kubectl = cluster.api.kubectl();
    let path = workspace::root().join(manifest);
    capture(kubectl.args(["apply", "--filename"]).arg(path)).unwrap();
}
