//! A real Alertmanager posts to the bonker what a real Prometheus makes of scraped metrics.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::format_push_string,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod scene;
mod secured;
mod shipped;
#[path = "../support/mod.rs"]
mod support;

use lab::{Alertmanager, Bonker, check_configuration, check_rules, test_rules, wait};
use scene::{SOON, Scene, alertmanager, cart, impatient, prometheus, swing};
use serde_json::json;
use support::{at, bonker_bin};

#[test]
fn the_shipped_files_are_accepted_and_agree() {
    check_rules(&prometheus(), &shipped::groups()).unwrap();
    assert_eq!(shipped::groups(), shipped::operators_groups());
    let configuration = shipped::alertmanager();
    check_configuration(&alertmanager(), &configuration).unwrap();
    let (route, receiver) = shipped::operators_route_and_receiver();
    assert_eq!(&route, at(&configuration, "/route/routes/0"));
    assert_eq!(&receiver, at(&configuration, "/receivers/1"));
}

/// As shipped, by Prometheus' own tester, whose clock need not be waited for.
#[test]
fn the_rule_fires_for_a_kill_and_clears() {
    let labels = r#"{namespace="a",pod="b",container="c"}"#;
    let killed = r#"{namespace="a",pod="b",container="c",reason="OOMKilled"}"#;
    let alert = |at: &str, fires: bool| {
        let firing = json!([{
            "exp_labels": {"namespace": "a", "pod": "b", "container": "c"},
            "exp_annotations": {"summary": "c of a/b was OOM-killed"},
        }]);
        let firing = if fires { firing } else { json!([]) };
        json!({"eval_time": at, "alertname": "OOMKilled", "exp_alerts": firing})
    };
    let cases = json!({"evaluation_interval": "30s", "tests": [
        {
            "interval": "30s",
            "input_series": [
                {"series": format!("kube_pod_container_status_restarts_total{labels}"),
                 "values": "0x10 1x60"},
                {"series": format!("kube_pod_container_status_last_terminated_reason{killed}"),
                 "values": "_x10 1x60"},
            ],
            "alert_rule_test": [
                alert("5m", false),
                alert("6m", true),
                alert("14m", true),
                alert("16m", false),
                alert("30m", false),
            ],
        },
        {
            // Restarted for another reason.
            "interval": "30s",
            "input_series": [
                {"series": format!("kube_pod_container_status_restarts_total{labels}"),
                 "values": "0x10 1x60"},
            ],
            "alert_rule_test": [alert("6m", false)],
        },
    ]});
    test_rules(&prometheus(), &shipped::groups(), &cases).unwrap();
}

#[test]
fn a_scraped_kill_swings_once_and_the_next_one_again() {
    // The second kill may come within the window of the first one's swing.
    let mut bonker = Bonker::start_with_web(&bonker_bin(), &["--window", "1s"]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}/hook", bonker.web().unwrap());
    let configuration = impatient(shipped::alertmanager(), &url);
    let alertmanager = Alertmanager::start(&alertmanager(), &configuration, dir).unwrap();
    let Scene {
        kubernetes,
        prometheus,
    } = Scene::start(&[alertmanager.address()]);

    kubernetes.oom_kill(&cart());
    let first = swing(&mut bonker, 1);
    // Sent over and over, as Alertmanager does while an alert stays.
    wait::until("repeated notifications", SOON, || {
        let (tried, failed) = alertmanager.notifications().ok()?;
        assert_eq!(failed, 0, "the hook turned some away");
        (tried >= 4).then_some(())
    })
    .unwrap();
    wait::until("the alert's end", SOON, || {
        prometheus.alerts().ok()?.is_empty().then_some(())
    })
    .unwrap();
    let log = bonker.log.so_far();
    let swings = log.filter(|line| line.contains(" bonked ")).count();
    assert_eq!(swings, 1, "a repeat has swung");

    kubernetes.oom_kill(&cart());
    let second = swing(&mut bonker, 2);
    let alert = |id: &str| id.split('-').nth(1).unwrap().to_owned();
    assert_eq!(
        alert(&first),
        alert(&second),
        "one container, one fingerprint"
    );
    assert_ne!(first, second, "nothing may swing for the first kill again");
    let (_, failed) = alertmanager.notifications().unwrap();
    assert_eq!(failed, 0, "the hook turned some away");
}
