use std::fmt::Write as _;

use jiff::Timestamp;
use memcg::Pressure;
use serde::Serialize;
use service::escape;

use super::policy::AnnotationError;
use crate::act::{self, Signalled};
use crate::incident::{Container, Pod, VERSION, serialize_nanoseconds};
use crate::size::size;
use pressure::{Crossing, Level};
use service::error_chain::chain;

/// Process ids of those that got a signal, in a line.
const PIDS: usize = 16;

/// The longest text of an error, in bytes.
const ERROR_LEN: usize = 256;

/// A container has come near its limit. Serializes to the line of `docs/warnings.md`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Warning {
    /// Of this crossing alone.
    pub id: String,
    pub time: Timestamp,
    /// Kubernetes node, else host name.
    pub node: String,
    /// Path in the memory controller's hierarchy.
    pub cgroup: String,
    /// Which container; `None`: it is the pod's own limit, and no container of it has one.
    pub container: Option<Container>,
    /// Its pod, where Kubernetes made it.
    pub pod: Option<Pod>,
    /// The measurement, and its level.
    pub crossing: Crossing,
    /// As it was written.
    pub threshold: String,
    /// What was compared with that, in percent of the limit.
    pub percent: f64,
    /// Where its pod has opted in to signals.
    pub(crate) signal: Option<SignalOutcome>,
}

/// The outcome of a signal to a container's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SignalOutcome {
    pub(crate) name: String,
    /// How many got it.
    pub(crate) sent: usize,
    pub(crate) pids: Vec<u32>,
    /// Why others, or all, did not.
    pub(crate) failed: Option<String>,
}

/// A pod has annotations that are not heeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadAnnotations {
    /// Of this report alone.
    pub id: String,
    pub time: Timestamp,
    /// Kubernetes node, else host name.
    pub node: String,
    pub pod: Pod,
    /// Not empty.
    pub(crate) errors: Vec<AnnotationError>,
}

#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    warning: Level,
    id: &'a str,
    #[serde(serialize_with = "serialize_nanoseconds")]
    time: Timestamp,
    node: &'a str,
    cgroup: &'a str,
    container: &'a Option<Container>,
    pod: &'a Option<Pod>,
    usage_bytes: u64,
    working_set_bytes: u64,
    limit_bytes: Option<u64>,
    limit_kind: &'static str,
    pressure: Option<&'a Pressure>,
    #[serde(rename = "mark")]
    threshold: &'a str,
    percent: f64,
    again: bool,
    seconds_to_limit: Option<f64>,
    signal: &'a Option<SignalOutcome>,
    text: String,
}

// === impl Warning ===

impl Warning {
    /// Whether bonkers get it: reminders they do not.
    pub(crate) fn is_bonked(&self) -> bool {
        !self.crossing.again
    }

    /// One sentence. Names are not escaped: sinks do that.
    pub(crate) fn sentence(&self) -> String {
        let sample = &self.crossing.sample;
        let mut text = match &self.container {
            Some(container) => format!("container {}", container.label()),
            None => String::new(),
        };
        match &self.pod {
            Some(Pod {
                namespace: Some(namespace),
                name: Some(name),
                ..
            }) => {
                let of = if text.is_empty() { "" } else { " of " };
                let _infallible = write!(text, "{of}pod {namespace}/{name}");
            }
            Some(Pod { uid: Some(uid), .. }) if text.is_empty() => {
                let _infallible = write!(text, "pod {uid}");
            }
            _ => {}
        }
        let still = if self.crossing.again { "still " } else { "" };
        let percent = self.percent;
        let limit = size(sample.limit.unwrap_or_default());
        let _infallible = write!(
            text,
            " is {still}at {percent:.0} % of its {} of {limit} ({})",
            if sample.throttles {
                "memory.high"
            } else {
                "memory limit"
            },
            self.crossing.level.as_str()
        );
        match self.crossing.forecast {
            Some(left) if left.is_zero() => {}
            Some(left) => {
                let seconds = left.as_secs_f64();
                // The last seconds are what counts.
                let digits = usize::from(seconds < 10.0);
                let _infallible =
                    write!(text, "; at this pace it is there in {seconds:.digits$} s");
            }
            // A pod has no history.
            None if self.container.is_none() => {}
            None => text.push_str("; it does not grow now"),
        }
        if let Some(signal) = &self.signal {
            let (name, processes) = (&signal.name, count_processes(signal.sent));
            let _infallible = write!(text, "; {name} was sent to {processes}");
            if let Some(why) = &signal.failed {
                let _infallible = write!(text, ", not to others: {why}");
            }
        }
        text
    }
}

impl Serialize for Warning {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sample = &self.crossing.sample;
        let line = Line {
            version: VERSION,
            warning: self.crossing.level,
            id: &self.id,
            time: self.time,
            node: &self.node,
            cgroup: &self.cgroup,
            container: &self.container,
            pod: &self.pod,
            usage_bytes: sample.current,
            working_set_bytes: sample.working_set,
            limit_bytes: sample.limit,
            limit_kind: if sample.throttles { "high" } else { "max" },
            pressure: sample.psi.as_ref().map(|psi| &psi.memory),
            threshold: &self.threshold,
            percent: (self.percent * 10.0).round() / 10.0,
            again: self.crossing.again,
            seconds_to_limit: self.crossing.forecast.map(|left| left.as_secs_f64()),
            signal: &self.signal,
            text: self.sentence(),
        };
        line.serialize(serializer)
    }
}

// === impl SignalOutcome ===

impl SignalOutcome {
    pub(crate) fn new(signal: act::Signal, done: std::io::Result<Signalled>) -> Self {
        let (done, why) = match done {
            Ok(done) => {
                let refused = done.failed.first();
                let refused = refused.map(|(_, error)| chain(error).to_string());
                let none = "none of its processes is meant, or all have ended";
                let none = done.sent.is_empty().then(|| none.to_owned());
                let cut = done.cut.then(|| "they are too many".to_owned());
                let why = refused.or(none).or(cut);
                (done, why)
            }
            Err(error) => {
                let why = format!("its processes cannot be listed: {error}");
                (Signalled::default(), Some(why))
            }
        };
        Self {
            name: signal.to_string(),
            sent: done.sent.len(),
            pids: done.sent.into_iter().take(PIDS).collect(),
            failed: why.map(|why| escape::truncate(&why, ERROR_LEN).to_owned()),
        }
    }
}

// === impl BadAnnotations ===

impl BadAnnotations {
    pub(crate) fn sentence(&self) -> String {
        let all: Vec<String> = self.errors.iter().map(ToString::to_string).collect();
        format!("{}. The node's own setting holds.", all.join("; "))
    }
}

fn count_processes(n: usize) -> String {
    match n {
        1 => "1 process".to_owned(),
        n => format!("{n} processes"),
    }
}
