//! The ways from a kill to a bonker of their own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::{Agent, Bonker, Bonks, KubeStateMetrics, field, message};
use proto::bonk::BonkItem;

use super::alerts::{Alerts, Pace, Parts};
use super::swings::{Swings, first_pulses};
use crate::setup::Programs;

/// By which way a bonker learns of a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// oom-agent, over gRPC.
    Agent,
    /// Alertmanager, as fast as it and Prometheus can be set.
    Fast,
    /// Alertmanager, as the original toy has it.
    Original,
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
    Alerts(Box<Alerts>),
}

/// The servo is simulated, and its duty shall delay no swing.
const FLAGS: [&str; 4] = ["--log-format", "json", "--duty", "100%"];

/// Its swing ends that of the boot, and is of no kill.
const WARM_UP: &str = "warm-up";

// === impl Way ===

impl Way {
    pub(super) const ALL: [Self; 3] = [Self::Agent, Self::Fast, Self::Original];

    pub(super) fn name(self) -> String {
        match self.pace() {
            None => "oom-agent → gRPC".to_owned(),
            Some(pace) => format!(
                "Prometheus every {} s → Alertmanager after {} s → hook",
                pace.interval_s, pace.group_wait_s
            ),
        }
    }

    fn pace(self) -> Option<Pace> {
        match self {
            Self::Agent => None,
            Self::Fast => Some(Pace {
                interval_s: 1,
                group_wait_s: 0,
            }),
            Self::Original => Some(Pace {
                interval_s: 30,
                group_wait_s: 30,
            }),
        }
    }
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
        let source = match way.pace() {
            None => {
                let args = ["--no-kubernetes", "--bonker", bonker.url()];
                Source::Agent(Agent::start(&programs.agent, &args, &[])?)
            }
            Some(pace) => {
                let web: SocketAddr = bonker.web().context("a bonker that serves HTTP")?;
                let hook = format!("http://{web}/hook");
                Source::Alerts(Box::new(Alerts::start(
                    parts,
                    pace,
                    exporter.address(),
                    &hook,
                )?))
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
            Source::Alerts(alerts) => alerts.wait_until_ready(within),
        }
    }

    /// When it swung for each victim so far.
    pub(super) fn swings(&mut self) -> Swings {
        first_pulses(self.bonker.log.so_far())
    }
}
