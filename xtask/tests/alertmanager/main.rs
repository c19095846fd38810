//! A real Alertmanager posts to the bonker what a real Prometheus makes of scraped metrics.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::format_push_string,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod kube_state_metrics;
mod shipped;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::time::Duration;

use kube_state_metrics::KubeStateMetrics;
use serde_json::{Value, json};
use support::{at, bonker_bin, text};
use xtask::lab::{
    Alertmanager, Bonker, Cache, Consent, Debian, Prometheus, Watch, check_configuration,
    check_rules, test_rules, wait,
};

/// Scraping, judging and posting take a second each, and the window of the rule has to pass.
const SOON: Duration = Duration::from_secs(60);

/// In place of the shipped 10 minutes: ten intervals of scraping.
const WINDOW: &str = "[10s]";

fn prometheus() -> PathBuf {
    let debian = Debian::new(Consent::Ask).unwrap();
    Prometheus::prepare(&Cache::open().unwrap(), debian).unwrap()
}

fn alertmanager() -> PathBuf {
    let debian = Debian::new(Consent::Ask).unwrap();
    Alertmanager::prepare(&Cache::open().unwrap(), debian).unwrap()
}

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
    let mut bonker = Bonker::start_with_web(&bonker_bin(), &[]).unwrap();
    let kubernetes = KubeStateMetrics::start();
    let dir = tempfile::tempdir().unwrap();
    let configuration = impatient(&format!("http://{}/hook", bonker.web().unwrap()));
    let alertmanager = Alertmanager::start(&alertmanager(), &configuration, dir).unwrap();
    let groups = with_a_short_window(&shipped::groups());
    let watch = Watch {
        targets: &[kubernetes.address],
        groups: &groups,
        alertmanagers: &[alertmanager.address()],
    };
    let prometheus = Prometheus::start(&prometheus(), watch).unwrap();
    wait::until("the first scrape", SOON, || {
        let series = prometheus.query("kube_pod_container_status_restarts_total");
        series.is_ok_and(|series| !series.is_empty()).then_some(())
    })
    .unwrap();

    kubernetes.oom_kill();
    let first = swing(&mut bonker, 1);
    // Told over and over, as Alertmanager does while an alert stays.
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

    kubernetes.oom_kill();
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

/// Waits for that swing and says its id; fails if there were others before.
fn swing(bonker: &mut Bonker, number: usize) -> String {
    let mut seen = 0;
    let line = bonker.log.find("swing", SOON, |line| {
        seen += usize::from(line.contains(" bonked "));
        (seen == number).then(|| line.to_owned())
    });
    let line = line.unwrap();
    assert!(line.contains("shop/cart-1/cart"), "{line}");
    let id = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("id="));
    let id = id.unwrap().trim_matches('"').to_owned();
    assert!(id.starts_with("am-"), "{line}");
    id
}

/// The shipped configuration, posting to `url`, and each second what it has posted before.
fn impatient(url: &str) -> Value {
    let mut configuration = shipped::alertmanager();
    let mut set = |pointer: &str, to: &str| {
        *configuration.pointer_mut(pointer).unwrap() = to.into();
    };
    set("/receivers/1/webhook_configs/0/url", url);
    set("/route/routes/0/group_interval", "1s");
    set("/route/routes/0/repeat_interval", "1s");
    configuration
}

fn with_a_short_window(groups: &[Value]) -> Vec<Value> {
    let mut groups = groups.to_vec();
    let expression = groups[0].pointer_mut("/rules/0/expr").unwrap();
    let short = expression.as_str().unwrap().replace("[10m]", WINDOW);
    assert!(short.contains(WINDOW), "{short}");
    *expression = short.into();
    assert_eq!(text(&groups[0], "/rules/0/alert"), "OOMKilled");
    groups
}
