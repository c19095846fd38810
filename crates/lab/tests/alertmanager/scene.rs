//! A Prometheus that watches a container, and what the tests make of the shipped files for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lab::{Alertmanager, Bonker, Container, KubeStateMetrics, Prometheus, Watch, wait};
use serde_json::Value;
use xtask::cache::Cache;
use xtask::debian::{Consent, Debian};

use crate::shipped;
use crate::support::text;

/// Scraping, judging and posting take a second each, and the window of the rule has to pass.
pub(crate) const SOON: Duration = wait::HANG;

/// In place of the shipped 10 minutes: ten intervals of scraping.
const WINDOW: &str = "[10s]";

/// The container has been scraped.
pub(crate) struct Scene {
    pub(crate) kubernetes: KubeStateMetrics,
    pub(crate) prometheus: Prometheus,
}

impl Scene {
    pub(crate) fn start(alertmanagers: &[SocketAddr]) -> Self {
        let kubernetes = KubeStateMetrics::start(vec![cart()]).unwrap();
        let groups = with_a_short_window(&shipped::groups());
        let watch = Watch {
            targets: &[kubernetes.address()],
            groups: &groups,
            alertmanagers,
            ..Watch::default()
        };
        let prometheus = Prometheus::start(&prometheus(), watch).unwrap();
        wait::until("the first scrape", SOON, || {
            let series = prometheus.query("kube_pod_container_status_restarts_total");
            series.is_ok_and(|series| !series.is_empty()).then_some(())
        })
        .unwrap();
        Self {
            kubernetes,
            prometheus,
        }
    }
}

/// Whose kills Prometheus scrapes.
pub(crate) fn cart() -> Container {
    Container {
        namespace: "shop".to_owned(),
        pod: "cart-1".to_owned(),
        name: "cart".to_owned(),
    }
}

pub(crate) fn prometheus() -> PathBuf {
    let debian = Debian::new(Consent::Confirm).unwrap();
    Prometheus::prepare(&Cache::open().unwrap(), debian).unwrap()
}

pub(crate) fn alertmanager() -> PathBuf {
    let debian = Debian::new(Consent::Confirm).unwrap();
    Alertmanager::prepare(&Cache::open().unwrap(), debian).unwrap()
}

/// Waits for that swing and gives its id; fails if there were others before.
pub(crate) fn swing(bonker: &mut Bonker, number: usize) -> String {
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

/// That configuration, posting to `url`, and each second what it has posted before.
pub(crate) fn impatient(mut configuration: Value, url: &str) -> Value {
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
