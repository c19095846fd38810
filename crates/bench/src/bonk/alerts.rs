//! Prometheus and Alertmanager, set as the original toy has them, in two paces.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use lab::{Alertmanager, Prometheus, Watch, wait};
use xtask::cache::Cache;
use xtask::debian::Debian;

/// Where the programs are.
#[derive(Debug)]
pub(super) struct Parts {
    prometheus: PathBuf,
    alertmanager: PathBuf,
}

/// The waits on the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// From one scrape, or one evaluation, to the next.
    pub(super) interval_s: u32,
    /// For more alerts of a group.
    pub(super) group_wait_s: u32,
}

/// Both, at work. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Alerts {
    prometheus: Prometheus,
    _alertmanager: Alertmanager,
}

impl Parts {
    pub(super) fn prepare(cache: &Cache, debian: Debian) -> Result<Self> {
        Ok(Self {
            prometheus: Prometheus::prepare(cache, debian)?,
            alertmanager: Alertmanager::prepare(cache, debian)?,
        })
    }
}

impl Alerts {
    pub(super) fn start(
        parts: &Parts,
        pace: Pace,
        exporter: SocketAddr,
        hook: &str,
    ) -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory for Alertmanager")?;
        let route = route(pace, hook);
        let alertmanager = Alertmanager::start(&parts.alertmanager, &route, dir)?;
        let watch = Watch {
            targets: &[exporter],
            groups: &[rules()],
            alertmanagers: &[alertmanager.address()],
            interval_s: pace.interval_s,
        };
        Ok(Self {
            prometheus: Prometheus::start(&parts.prometheus, watch)?,
            _alertmanager: alertmanager,
        })
    }

    /// Waits until the exporter was scraped.
    pub(super) fn wait_until_ready(&self, within: Duration) -> Result<()> {
        wait::until("the first scrape", within, || {
            let query = "kube_pod_container_status_restarts_total";
            let series = self.prometheus.query(query).ok()?;
            (!series.is_empty()).then_some(())
        })
    }
}

/// The original toy's.
fn rules() -> Value {
    json!({"name": "oom", "rules": [{
        "alert": "OOMKilled",
        "expr": r#"kube_pod_container_status_last_terminated_reason{reason="OOMKilled"}"#,
    }]})
}

/// The original toy's, but for the pace.
fn route(pace: Pace, hook: &str) -> Value {
    json!({
        "route": {
            "receiver": "oom-bonker",
            "group_by": ["namespace"],
            "group_wait": format!("{}s", pace.group_wait_s),
            "group_interval": "5m",
            "repeat_interval": "10m",
        },
        "receivers": [{
            "name": "oom-bonker",
            "webhook_configs": [{"url": hook, "send_resolved": false}],
        }],
    })
}
