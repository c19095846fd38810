//! A real Prometheus scrapes the agent, judges the alerts and answers the dashboard.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod shipped;
#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use lab::{Agent, Bonker, Cgroup, Prometheus, Watch, check_rules, test_rules, wait};
use serde_json::{Value, json};
use support::admin::{Admin, LISTEN};
use support::cri::{Pod, run_gated};
use support::{MIB, SOON, agent_bin, at, bonker_bin, containerd, text};
use xtask::cache::Cache;
use xtask::debian::{Consent, Debian};
use xtask::process::stop;

fn parts() -> PathBuf {
    let debian = Debian::new(Consent::Confirm).unwrap();
    Prometheus::prepare(&Cache::open().unwrap(), debian).unwrap()
}

#[test]
fn the_alerts_are_rules() {
    check_rules(&parts(), &shipped::groups()).unwrap();
}

#[test]
fn each_alert_fires_and_clears() {
    let cases = shipped::alert_tests();
    let tests = at(&cases, "/tests").as_array().unwrap().iter();
    let expectations: Vec<(&str, bool)> = tests
        .flat_map(|test| at(test, "/alert_rule_test").as_array().unwrap())
        .map(|test| {
            let fires = !at(test, "/exp_alerts").as_array().unwrap().is_empty();
            (text(test, "/alertname"), fires)
        })
        .collect();
    for alert in shipped::alerts() {
        for fires in [true, false] {
            assert!(
                expectations.contains(&(&alert, fires)),
                "no test has {alert} fire: {fires}"
            );
        }
    }
    test_rules(&parts(), &shipped::groups(), &cases).unwrap();
}

/// Does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        stop(&mut self.0, Duration::ZERO);
    }
}

/// Has the cgroup's limit kill a process in it, and waits until the agent reports that.
fn killed_in(agent: &mut Agent, cgroup: &Cgroup) {
    let mut command = cgroup.command("tail");
    let command = command.arg("/dev/zero").stdin(Stdio::null());
    let victim = Killed(command.stdout(Stdio::null()).spawn().unwrap());
    agent.incident_of(victim.0.id(), SOON).unwrap();
}

#[test]
fn after_kills_each_panel_shows_them_and_the_alerts_fire() {
    let containerd = containerd();
    let endpoint = format!("unix://{}", containerd.socket().display());
    let bonker = Bonker::start(&bonker_bin(), &[]).unwrap();
    let mut agent = Agent::start(
        &agent_bin(),
        &[
            "--no-kubernetes",
            "--cri-endpoint",
            &endpoint,
            "--bonker",
            bonker.url(),
            // Something to be degraded.
            "--cgroupfs",
            "/etc",
            LISTEN[0],
            LISTEN[1],
        ],
        &[],
    )
    .unwrap();
    let admin = Admin::of_agent(&mut agent);
    let alertmanager = TcpListener::bind("127.0.0.1:0").unwrap();
    let prometheus = Prometheus::start(
        &parts(),
        Watch {
            targets: &[admin.address()],
            groups: &shipped::groups(),
            alertmanagers: &[alertmanager.local_addr().unwrap()],
            ..Watch::default()
        },
    )
    .unwrap();

    let pod = Pod {
        namespace: "penguins".to_owned(),
        name: "hungry".to_owned(),
        uid: "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e".to_owned(),
        annotations: Vec::new(),
    };
    // A child of a container that lives: Kubernetes will not report it.
    let container = run_gated(
        &containerd,
        &pod,
        "main",
        "tail /dev/zero; sleep 2147483647",
    );
    let at_zero =
        r#"oom_agent_kills_total{pod="hungry",scope="container",outcome="child-died"} == 0"#;
    series(&prometheus, "the container at zero", at_zero);
    container.open();
    agent.incident_in(&container.cgroup, SOON).unwrap();
    killed_in(&mut agent, &Cgroup::new(32 * MIB).unwrap());
    // Containers of no pod are not listed: their series begin with the first kill, and grow by the next.
    let (docker, id) = Cgroup::of_container(32 * MIB).unwrap();
    killed_in(&mut agent, &docker);
    let once = format!(r#"oom_agent_kills_total{{container="{id}"}} == 1"#);
    series(&prometheus, "the container's first kill", &once);
    killed_in(&mut agent, &docker);

    for target in shipped::targets() {
        for one in series(&prometheus, &target.name(), &target.expression) {
            for label in target.legend_labels() {
                let value = at(&one, "/metric").get(label);
                assert!(value.is_some(), "{} has no {label} in {one}", target.name());
            }
        }
    }
    let instance = admin.address().to_string();
    for (name, labels) in [
        (
            "OomKilled",
            json!({"namespace": "penguins", "pod": "hungry", "container": "main", "scope": "container"}),
        ),
        (
            "OomKilledHostProcess",
            json!({"instance": instance, "scope": "ancestor"}),
        ),
        (
            "OomToldOtherwise",
            json!({"instance": instance, "verdict": "missed"}),
        ),
    ] {
        firing(&prometheus, name, labels.as_object().unwrap());
    }
    let groups = prometheus.get("/api/v1/rules").unwrap();
    let mut judged = 0;
    for group in at(&groups, "/groups").as_array().unwrap() {
        for rule in at(group, "/rules").as_array().unwrap() {
            assert_eq!(*at(rule, "/health"), json!("ok"), "{rule:#}");
            judged += 1;
        }
    }
    assert_eq!(judged, shipped::alerts().len());

    let sent: Value = serde_json::from_slice(&first_request(&alertmanager)).unwrap();
    let alert = text(&sent, "/0/labels/alertname").to_owned();
    assert!(shipped::alerts().contains(&alert), "{sent:#}");
}

/// The body of the first request that a server got. It is not answered.
fn first_request(server: &TcpListener) -> Vec<u8> {
    server.set_nonblocking(true).unwrap();
    let accept = || Some(server.accept().ok()?.0);
    let stream = wait::until("a request", SOON, accept).unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.strip_prefix("content-length: ") {
            length = bytes.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    body
}

/// Waits until that alert fires with these labels, among others'.
fn firing(prometheus: &Prometheus, name: &str, labels: &serde_json::Map<String, Value>) {
    let mut alerts = Vec::new();
    let ours = |alert: &Value| {
        let of = at(alert, "/labels");
        of["alertname"] == name && labels.iter().all(|(label, value)| of[label] == *value)
    };
    wait::until(name, SOON, || {
        alerts = prometheus.alerts().unwrap();
        let alert = alerts.iter().find(|alert| ours(alert))?;
        (alert["state"] == "firing").then_some(())
    })
    .unwrap_or_else(|error| panic!("{error} with {labels:?}: {alerts:#?}"));
}

/// The series of an expression, once there are some.
fn series(prometheus: &Prometheus, what: &str, expression: &str) -> Vec<Value> {
    wait::until(what, SOON, || {
        let series = prometheus.query(expression).unwrap();
        (!series.is_empty()).then_some(series)
    })
    .unwrap()
}
