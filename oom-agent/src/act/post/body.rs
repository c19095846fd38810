//! The JSON of a notice. What the third `OOMHero` has comes under its names; the rest is ours.

use jiff::Timestamp;
use memcg::{OomScores, Percent, Stalled};
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
    pub(crate) node: Option<String>,
    cgroup: String,
    /// Container and pod as far as they are known.
    pub(crate) container: Option<Container>,
    pub(crate) pod: Option<Pod>,
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
    #[serde(with = "Stalls")]
    pressure: Pressure,
}

#[derive(Serialize)]
#[serde(remote = "Pressure")]
struct Stalls {
    #[serde(with = "Severities")]
    memory: Stall,
    #[serde(with = "Severities")]
    io: Stall,
    #[serde(with = "Severities")]
    cpu: Stall,
}

#[derive(Serialize)]
#[serde(remote = "Stall")]
struct Severities {
    #[serde(with = "Averages")]
    some: Stalled,
    #[serde(with = "Averages")]
    full: Stalled,
}

#[derive(Serialize)]
#[serde(remote = "Stalled")]
struct Averages {
    avg10: Percent,
    avg60: Percent,
    avg300: Percent,
    #[serde(rename = "total")]
    total_us: u64,
}

// === impl Notice ===

impl Notice {
    pub(crate) fn new(
        crossing: &Crossing,
        scores: OomScores,
        process: NoticeProcess,
        time: Timestamp,
        cgroup: &str,
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
                pressure: sample.psi.unwrap_or_default(),
            },
            time,
            again: crossing.again,
            forecast_seconds: crossing.forecast.map(|forecast| forecast.as_secs_f64()),
            node: None,
            cgroup: cgroup.to_owned(),
            container: None,
            pod: None,
        }
    }
}
