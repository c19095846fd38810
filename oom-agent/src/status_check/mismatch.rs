use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::{MismatchKind, State, Status, sentence};
use crate::incident::{Container, Incident, Pod, VERSION, Victim, serialize_nanoseconds};

/// A status that contradicts the kernel. Serializes to the verdict's line of `docs/incident.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub verdict: MismatchKind,
    /// The kill that the status was compared with.
    pub incident: Arc<Incident>,
    pub status: Status,
    /// When the status was read.
    pub time: Timestamp,
}

#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    verdict: MismatchKind,
    incident: &'a str,
    #[serde(serialize_with = "serialize_nanoseconds")]
    time: Timestamp,
    node: &'a str,
    container: &'a Container,
    pod: &'a Option<Pod>,
    victims: Vec<u32>,
    status: StatusLine<'a>,
    text: String,
}

#[derive(Serialize)]
struct StatusLine<'a> {
    state: State,
    reason: Option<&'a str>,
    exit_code: Option<i32>,
    finished_at: Option<String>,
}

// === impl Mismatch ===

impl Mismatch {
    /// The incident's victims in this container.
    pub(crate) fn victims(&self) -> impl Iterator<Item = &Victim> {
        victims_in(&self.incident, &self.status.container.id)
    }
}

/// The incident's victims in the container of that id.
pub(super) fn victims_in<'a>(
    incident: &'a Incident,
    id: &'a str,
) -> impl Iterator<Item = &'a Victim> {
    incident.victims.iter().filter(move |victim| {
        let container = victim.container.as_ref();
        container.is_some_and(|container| container.id == id)
    })
}

impl Serialize for Mismatch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let status = &self.status;
        let exited = status.state == State::Exited;
        let line = Line {
            version: VERSION,
            verdict: self.verdict,
            incident: &self.incident.id,
            time: self.time,
            node: &self.incident.node,
            container: &status.container,
            pod: &status.pod,
            victims: self.victims().map(|victim| victim.pid).collect(),
            status: StatusLine {
                state: status.state,
                reason: Some(status.reason.as_str()).filter(|reason| !reason.is_empty()),
                exit_code: exited.then_some(status.exit_code),
                finished_at: status.finished.map(|time| format!("{time:.9}")),
            },
            text: sentence(self),
        };
        line.serialize(serializer)
    }
}
