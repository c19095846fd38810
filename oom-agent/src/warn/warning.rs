use std::fmt::Write as _;

use jiff::Timestamp;
use memcg::Pressure;
use serde::Serialize;
use service::escape;

use super::Complaint;
use crate::act::{Sig, Signalled};
use crate::chain;
use crate::incident::{Container, Pod, VERSION, serialize_nanoseconds};
use crate::size::size;
use pressure::{Crossing, Level};

/// Processes that a line names of those that got a signal.
const PIDS: usize = 16;

/// As much of a container's id as tells it from others.
const ID_LEN: usize = 12;

/// The longest text of an error that is told, in bytes.
const ERROR_LEN: usize = 256;

/// A container has come near its limit. Serializes to the line of `docs/warnings.md`.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// Of this crossing alone.
    pub id: String,
    /// When it was seen.
    pub time: Timestamp,
    /// Kubernetes node, else host name.
    pub node: String,
    /// Path in the memory controller's hierarchy.
    pub cgroup: String,
    /// Which container; `None`: it is the pod's own limit, and no container of it has one.
    pub container: Option<Container>,
    /// Its pod, where Kubernetes made it.
    pub pod: Option<Pod>,
    /// What was seen, and how near that is.
    pub crossing: Crossing,
    /// What it was judged by, as it was written.
    pub mark: String,
    /// What was held against that, in percent of the limit.
    pub percent: f64,
    /// Where its pod asks for signals.
    pub signal: Option<Signal>,
}

/// What came of a signal to a container's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Signal {
    /// Its name.
    pub name: String,
    /// How many got it.
    pub sent: usize,
    /// Some of them, by their process ids.
    pub pids: Vec<u32>,
    /// Why others, or all, did not.
    pub failed: Option<String>,
}

/// A pod asks for what cannot be heeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unheeded {
    /// Of this complaint alone.
    pub id: String,
    /// When it was read.
    pub time: Timestamp,
    /// Kubernetes node, else host name.
    pub node: String,
    /// Whose annotations.
    pub pod: Pod,
    /// What is wrong; not empty.
    pub complaints: Vec<Complaint>,
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
    mark: &'a str,
    percent: f64,
    again: bool,
    seconds_to_limit: Option<f64>,
    signal: &'a Option<Signal>,
    text: String,
}

// === impl Warning ===

impl Warning {
    /// Whether a penguin is nudged for it: it is no alarm clock.
    pub fn nudges(&self) -> bool {
        !self.crossing.again
    }

    /// One plain sentence. Names are as they came: the place this goes to escapes them.
    pub fn sentence(&self) -> String {
        let usage = &self.crossing.sample;
        let mut text = match &self.container {
            Some(container) => {
                let id = escape::truncate(&container.id, ID_LEN);
                format!("container {}", container.name.as_deref().unwrap_or(id))
            }
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
        let limit = size(usage.limit.unwrap_or_default());
        let _infallible = write!(
            text,
            " is {still}at {percent:.0} % of its {} of {limit} ({})",
            if usage.throttles {
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
            // Nobody records a pod.
            None if self.container.is_none() => {}
            None => text.push_str("; it does not grow now"),
        }
        match &self.signal {
            Some(Signal {
                name,
                sent,
                failed: None,
                ..
            }) => {
                let _infallible = write!(text, "; {name} was sent to {}", processes(*sent));
            }
            Some(Signal {
                name,
                sent,
                failed: Some(why),
                ..
            }) => {
                let _infallible = write!(
                    text,
                    "; {name} was sent to {}, not to others: {why}",
                    processes(*sent)
                );
            }
            None => {}
        }
        text
    }
}

impl Serialize for Warning {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let usage = &self.crossing.sample;
        let line = Line {
            version: VERSION,
            warning: self.crossing.level,
            id: &self.id,
            time: self.time,
            node: &self.node,
            cgroup: &self.cgroup,
            container: &self.container,
            pod: &self.pod,
            usage_bytes: usage.current,
            working_set_bytes: usage.working_set,
            limit_bytes: usage.limit,
            limit_kind: if usage.throttles { "high" } else { "max" },
            pressure: usage.psi.as_ref().map(|psi| &psi.memory),
            mark: &self.mark,
            percent: (self.percent * 10.0).round() / 10.0,
            again: self.crossing.again,
            seconds_to_limit: self.crossing.forecast.map(|left| left.as_secs_f64()),
            signal: &self.signal,
            text: self.sentence(),
        };
        line.serialize(serializer)
    }
}

// === impl Signal ===

impl Signal {
    /// Of what was done, or could not be.
    pub fn of(signal: Sig, done: std::io::Result<Signalled>) -> Self {
        let name = signal.to_string();
        let bounded = |why: String| escape::truncate(&why, ERROR_LEN).to_owned();
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                return Self {
                    name,
                    failed: Some(bounded(format!("its processes cannot be listed: {error}"))),
                    ..Self::default()
                };
            }
        };
        let refused = done
            .failed
            .first()
            .map(|(_, error)| chain(error).to_string());
        let nobody = done
            .sent
            .is_empty()
            .then(|| "none of its processes is meant, or all have ended".to_owned());
        let cut = done.cut.then(|| "they are too many".to_owned());
        Self {
            name,
            sent: done.sent.len(),
            pids: done.sent.into_iter().take(PIDS).collect(),
            failed: refused.or(nobody).or(cut).map(bounded),
        }
    }
}

// === impl Unheeded ===

impl Unheeded {
    /// All of it, in sentences.
    pub fn sentence(&self) -> String {
        let all: Vec<String> = self.complaints.iter().map(ToString::to_string).collect();
        format!("{}. The node's own setting holds.", all.join("; "))
    }
}

fn processes(n: usize) -> String {
    match n {
        1 => "1 process".to_owned(),
        n => format!("{n} processes"),
    }
}
