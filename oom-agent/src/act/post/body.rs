//! The JSON of a notice. What the third `OOMHero` has comes under its names; the rest is ours.

use jiff::Timestamp;
use memcg::OomScores;
use serde::Serialize;

use crate::incident::{Container, Pod};
use pressure::{Crossing, Level};
use pressure::{Pressure, Stall};

/// What is told of a crossing.
#[derive(Clone, Debug, Serialize)]
pub struct Notice {
    /// `warning`: this is no kill.
    kind: &'static str,
    severity: &'static str,
    process: Process,
    collected_data: Collected,
    /// When it was seen.
    time: Timestamp,
    /// It was told before, and lasts.
    again: bool,
    /// Until the limit is reached at the present slope.
    forecast_seconds: Option<f64>,
    node: Option<String>,
    cgroup: String,
    container: Option<Container>,
    pod: Option<Pod>,
}

/// Of the container's processes, the one that is told of.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Process {
    /// In the agent's PID namespace.
    pub pid: u32,
    /// Without arguments.
    pub cmdline: String,
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
    /// Of a crossing in that cgroup at that time.
    pub fn new(crossing: &Crossing, scores: OomScores, process: Process, time: Timestamp) -> Self {
        let usage = &crossing.sample;
        Self {
            kind: "warning",
            severity: match crossing.level {
                Level::Warning => "Warning",
                Level::Critical => "Critical",
            },
            process,
            collected_data: Collected {
                memory_max: usage.limit.unwrap_or_default(),
                memory_current: usage.current,
                memory_usage: usage.ratio().unwrap_or_default() * 100.0,
                memory_working_set: usage.working_set,
                oom_score: scores.oom_score,
                oom_score_adj: scores.oom_score_adj,
                pressure: usage.psi.as_ref().map(Stalls::of).unwrap_or_default(),
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

    /// In which cgroup.
    #[must_use]
    pub fn in_cgroup(mut self, cgroup: &str) -> Self {
        cgroup.clone_into(&mut self.cgroup);
        self
    }

    /// On which node, and whose it is, as far as that is known.
    #[must_use]
    pub fn of(mut self, node: &str, container: Option<Container>, pod: Option<Pod>) -> Self {
        self.node = Some(node.to_owned());
        (self.container, self.pod) = (container, pod);
        self
    }
}

// === impl Stalls ===

impl Stalls {
    fn of(pressure: &Pressure) -> Self {
        let of = |stall: &Stall| Severities {
            some: Averages::of(&stall.some),
            full: Averages::of(&stall.full),
        };
        Self {
            memory: of(&pressure.memory),
            io: of(&pressure.io),
            cpu: of(&pressure.cpu),
        }
    }
}

// === impl Averages ===

impl Averages {
    fn of(stalled: &memcg::Stalled) -> Self {
        let percent = |percent: memcg::Percent| f64::from(percent.0) / 100.0;
        Self {
            avg10: percent(stalled.avg10),
            avg60: percent(stalled.avg60),
            avg300: percent(stalled.avg300),
            total: stalled.total_us,
        }
    }
}
