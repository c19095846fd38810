//! The ways from a kill to a bonker of their own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::{Agent, Bonker, Bonks, KubeStateMetrics, field, message};
use proto::bonk::BonkItem;

use super::alerts::{Alerts, Pace, Parts};
use super::swings::{Swings, first_pulses};
use crate::site::Programs;

/// Who tells the bonker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// oom-agent, over gRPC.
    Agent,
    /// Alertmanager, as fast as it and Prometheus can be set.
    Fast,
    /// Alertmanager, as the original toy has it.
    Original,
}

/// A bonker, and who tells it. Dropping it ends all of it.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) way: Way,
    bonker: Bonker,
    teller: Teller,
}

#[derive(Debug)]
enum Teller {
    Agent(Agent),
    Alerts(Alerts),
}

/// The servo is none, and its minute's duty shall delay nobody.
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

// === impl Post ===

impl Post {
    pub(super) fn start(
        way: Way,
        programs: &Programs,
        parts: &Parts,
        exporter: &KubeStateMetrics,
    ) -> Result<Self> {
        let bonker = Bonker::start_with_web(&programs.bonker, &FLAGS)?;
        let teller = match way.pace() {
            None => {
                let args = ["--no-kubernetes", "--bonker", bonker.url()];
                Teller::Agent(Agent::start(&programs.agent, &args, &[])?)
            }
            Some(pace) => {
                let web: SocketAddr = bonker.web().context("a bonker that serves HTTP")?;
                let hook = format!("http://{web}/hook");
                Teller::Alerts(Alerts::start(parts, pace, exporter.address(), &hook)?)
            }
        };
        Ok(Self {
            way,
            bonker,
            teller,
        })
    }

    /// Returns once the servo has swung and the teller is at work.
    pub(super) fn ready(&mut self, within: Duration) -> Result<()> {
        Bonks::to(self.bonker.url())?.send(BonkItem {
            id: WARM_UP.to_owned(),
            source: "xtask".to_owned(),
            comm: WARM_UP.to_owned(),
            ..BonkItem::default()
        })?;
        self.bonker.log.find("swing", within, |line| {
            let ours = message(line)? == "bonked" && field(line, "comm")? == WARM_UP;
            ours.then_some(())
        })?;
        match &mut self.teller {
            Teller::Agent(agent) => {
                let reached = |line: &str| line.contains("bonker reached").then_some(());
                agent
                    .log
                    .find("message that the bonker is reached", within, reached)
            }
            Teller::Alerts(alerts) => alerts.ready(within),
        }
    }

    /// For whom it swung so far, and when.
    pub(super) fn swings(&mut self) -> Swings {
        first_pulses(self.bonker.log.so_far())
    }
}
