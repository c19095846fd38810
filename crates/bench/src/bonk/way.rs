//! The ways from a kill to a bonker of their own: by oom-agent, or by Prometheus and Alertmanager, set as
//! the original toy has them, in two paces.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::{
    Agent, Alertmanager, Bonker, Bonks, KubeStateMetrics, Prometheus, Watch, field, message, wait,
};
use proto::bonk::BonkItem;
use serde_json::{Value, json};
use xtask::cache::Cache;
use xtask::debian::Debian;

use super::swings::{Swings, first_pulses};
use crate::setup::Programs;

/// By which way a bonker learns of a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// oom-agent, over gRPC.
    Agent,
    /// Alertmanager.
    Alerts(Pace),
}

/// The waits on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// From one scrape, or one evaluation, to the next.
    interval_s: u32,
    /// For more alerts of a group.
    group_wait_s: u32,
}

/// Where the programs of the alerts are.
#[derive(Debug)]
pub(super) struct Parts {
    prometheus: PathBuf,
    alertmanager: PathBuf,
}

/// A bonker, and the source of its bonks. Dropping it ends all of it.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) way: Way,
    bonker: Bonker,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Agent(Agent),
    Alerts {
        prometheus: Prometheus,
        _alertmanager: Alertmanager,
    },
}

/// The servo is simulated, and its duty shall delay no swing.
const FLAGS: [&str; 4] = ["--log-format", "json", "--duty", "100%"];

/// Its swing ends that of the boot, and is of no kill.
const WARM_UP: &str = "warm-up";

// === impl Way ===

impl Way {
    pub(super) const ALL: [Self; 3] = [
        Self::Agent,
        // As fast as it and Prometheus can be set.
        Self::Alerts(Pace {
            interval_s: 1,
            group_wait_s: 0,
        }),
        // As the original toy has it.
        Self::Alerts(Pace {
            interval_s: 30,
            group_wait_s: 30,
        }),
    ];

    pub(super) fn name(self) -> String {
        match self {
            Self::Agent => "oom-agent → gRPC".to_owned(),
            Self::Alerts(pace) => format!(
                "Prometheus every {} s → Alertmanager after {} s → hook",
                pace.interval_s, pace.group_wait_s
            ),
        }
    }
}

// === impl Parts ===

impl Parts {
    pub(super) fn prepare(cache: &Cache, debian: Debian) -> Result<Self> {
        Ok(Self {
            prometheus: Prometheus::prepare(cache, debian)?,
            alertmanager: Alertmanager::prepare(cache, debian)?,
        })
    }

    fn start(&self, pace: Pace, exporter: &KubeStateMetrics, hook: &str) -> Result<Source> {
        let dir = tempfile::tempdir().context("make a directory for Alertmanager")?;
        let alertmanager = Alertmanager::start(&self.alertmanager, &route(pace, hook), dir)?;
        let watch = Watch {
            targets: &[exporter.address()],
            groups: &[rules()],
            alertmanagers: &[alertmanager.address()],
            interval_s: pace.interval_s,
        };
        Ok(Source::Alerts {
            prometheus: Prometheus::start(&self.prometheus, watch)?,
            _alertmanager: alertmanager,
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

// === impl Station ===

impl Station {
    pub(super) fn start(
        way: Way,
        programs: &Programs,
        parts: &Parts,
        exporter: &KubeStateMetrics,
    ) -> Result<Self> {
        let bonker = Bonker::start_with_web(&programs.bonker, &FLAGS)?;
        let source = match way {
            Way::Agent => {
                let args = ["--no-kubernetes", "--bonker", bonker.url()];
                Source::Agent(Agent::start(&programs.agent, &args, &[])?)
            }
            Way::Alerts(pace) => {
                let page = bonker.page().context("a bonker that serves HTTP")?;
                parts.start(pace, exporter, &format!("{page}hook"))?
            }
        };
        Ok(Self {
            way,
            bonker,
            source,
        })
    }

    /// Waits until the servo has swung and its source is at work.
    pub(super) fn wait_until_ready(&mut self, within: Duration) -> Result<()> {
        Bonks::connect(self.bonker.url())?.send(BonkItem {
            id: WARM_UP.to_owned(),
            source: "xtask".to_owned(),
            comm: WARM_UP.to_owned(),
            ..BonkItem::default()
        })?;
        self.bonker.log.find("swing", within, |line| {
            let ours = message(line)? == "bonked" && field(line, "comm")? == WARM_UP;
            ours.then_some(())
        })?;
        match &mut self.source {
            Source::Agent(agent) => {
                let reached = |line: &str| line.contains("bonker reached").then_some(());
                agent.log.find("connection to the bonker", within, reached)
            }
            // Until the exporter was scraped.
            Source::Alerts { prometheus, .. } => wait::until("the first scrape", within, || {
                let query = "kube_pod_container_status_restarts_total";
                let series = prometheus.query(query).ok()?;
                (!series.is_empty()).then_some(())
            }),
        }
    }

    /// When it swung for each victim so far.
    pub(super) fn swings(&mut self) -> Swings {
        first_pulses(self.bonker.log.so_far())
    }
}
