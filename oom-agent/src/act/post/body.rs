//! The JSON of a notice. What the third `OOMHero` has comes under its names; the rest is ours.

use jiff::Timestamp;
use memcg::OomScores;
use serde::Serialize;

use crate::incident::{Container, Pod};
use pressure::{Crossing, Level, Pressure, Stall};

/// One crossing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Notice {
    /// `warning`: this is no kill.
    kind: &'static str,
    severity: &'static str,
    process: NoticeProcess,
    collected_data: Collected,
    /// When it was measured.
    time: Timestamp,
    /// A reminder.
    again: bool,
    /// Until the limit is reached at the present slope.
    forecast_seconds: Option<f64>,
    node: Option<String>,
    cgroup: String,
    container: Option<Container>,
    pod: Option<Pod>,
}

/// The process that was measured, or the likeliest victim of the container.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct NoticeProcess {
    /// In the agent's PID namespace.
    pub(crate) pid: u32,
    /// Without arguments.
    pub(crate) cmdline: String,
}

#[derive(Clone, Debug, Serialize)]
struct Collected {
    memory_max: u64,
    memory_current: u64,
    memory_usage: f64,
    memory_working_set: u64,
    oom_score: i32,
    oom_score_adj: i32,
    pressure: Stalls,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Stalls {
    memory: Severities,
    io: Severities,
    cpu: Severities,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Severities {
    some: Averages,
    full: Averages,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Averages {
    avg10: f64,
    avg60: f64,
    avg300: f64,
    total: u64,
}

// === impl Notice ===

impl Notice {
    pub(crate) fn new(
        crossing: &Crossing,
        scores: OomScores,
        process: NoticeProcess,
        time: Timestamp,
    ) -> Self {
        let sample = &crossing.sample;
        Self {
            kind: "warning",
            severity: match crossing.level {
                Level::Warning => "Warning",
                Level::Critical => "Critical",
            },
            process,
            collected_data: Collected {
                memory_max: sample.limit.unwrap_or_default(),
                memory_current: sample.current,
                memory_usage: sample.ratio().unwrap_or_default() * 100.0,
                memory_working_set: sample.working_set,
                oom_score: scores.oom_score,
                oom_score_adj: scores.oom_score_adj,
                pressure: sample
                    .psi
                    .as_ref()
                    .map(Stalls::from_pressure)
                    .unwrap_or_default(),
            },
            time,
            again: crossing.again,
            forecast_seconds: crossing.forecast.map(|forecast| forecast.as_secs_f64()),
            node: None,
            cgroup: String::new(),
            container: None,
            pod: None,
        }
    }

    #[must_use]
    pub(crate) fn in_cgroup(mut self, cgroup: &str) -> Self {
        cgroup.clone_into(&mut self.cgroup);
        self
    }

    /// Container and pod as far as they are known.
    #[must_use]
    pub(crate) fn with_owner(
        mut self,
        node: &str,
        container: Option<Container>,
        pod: Option<Pod>,
    ) -> Self {
        self.node = Some(node.to_owned());
        (self.container, self.pod) = (container, pod);
        self
    }
}

// === impl Stalls ===

impl Stalls {
    fn from_pressure(pressure: &Pressure) -> Self {
        let severities = |stall: &Stall| Severities {
            some: Averages::from_stalled(&stall.some),
            full: Averages::from_stalled(&stall.full),
        };
        Self {
            memory: severities(&pressure.memory),
            io: severities(&pressure.io),
            cpu: severities(&pressure.cpu),
        }
    }
}

// === impl Averages ===

impl Averages {
    fn from_stalled(stalled: &memcg::Stalled) -> Self {
        let percent = |percent: memcg::Percent| f64::from(percent.0) / 100.0;
        Self {
            avg10: percent(stalled.avg10),
            avg60: percent(stalled.avg60),
            avg300: percent(stalled.avg300),
            total: stalled.total_us,
        }
    }
}
