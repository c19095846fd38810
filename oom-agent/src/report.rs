//! Everything that goes to sinks. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use crate::incident::{Container, Incident, Pod, sentence};
use crate::no_victim::NoVictim;
use crate::status_check::{self, Mismatch};
use crate::warn::{BadAnnotations, Warning};

/// One thing to report. A clone is the same one.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    /// Processes were killed.
    Incident(Arc<Incident>),
    /// An OOM killed no process.
    NoVictim(Arc<NoVictim>),
    /// Kubernetes' status of a container contradicts the kernel's kills.
    Mismatch(Arc<Mismatch>),
    /// A container is near its limit.
    Warning(Arc<Warning>),
    /// A pod has annotations that cannot be used.
    BadAnnotations(Arc<BadAnnotations>),
}

// === impl Report ===

impl Report {
    /// Stable, so that a retry is recognised as the same report. A mismatch has the id of its incident.
    pub(crate) fn id(&self) -> &str {
        self.id_time_and_node().0
    }

    /// When it happened; of a mismatch, when the status was read.
    pub(crate) fn time(&self) -> Timestamp {
        self.id_time_and_node().1
    }

    /// The Kubernetes node, else the host's name.
    pub(crate) fn node(&self) -> &str {
        self.id_time_and_node().2
    }

    fn id_time_and_node(&self) -> (&str, Timestamp, &str) {
        match self {
            Self::Incident(it) => (&it.id, it.time, &it.node),
            Self::NoVictim(it) => (&it.incident.id, it.incident.time, &it.incident.node),
            Self::Mismatch(it) => (&it.incident.id, it.time, &it.incident.node),
            Self::Warning(it) => (&it.id, it.time, &it.node),
            Self::BadAnnotations(it) => (&it.id, it.time, &it.node),
        }
    }

    /// The incident that it is, or is about.
    pub(crate) fn incident(&self) -> Option<&Incident> {
        match self {
            Self::Incident(incident) => Some(incident),
            Self::NoVictim(no_victim) => Some(&no_victim.incident),
            Self::Mismatch(mismatch) => Some(&mismatch.incident),
            Self::Warning(_) | Self::BadAnnotations(_) => None,
        }
    }

    /// The incident whose kills it reports.
    pub(crate) fn kills(&self) -> Option<&Incident> {
        match self {
            Self::Incident(incident) => Some(incident),
            _ => None,
        }
    }

    /// Whether a container is near its limit: old news soon.
    pub(crate) fn is_warning(&self) -> bool {
        matches!(self, Self::Warning(_))
    }

    /// When the kernel did what is reported, in ns of `CLOCK_MONOTONIC`.
    pub(crate) fn stamp_ns(&self) -> Option<u64> {
        match self {
            Self::Warning(warning) => Some(warning.crossing.sample.at_ns),
            _ => Some(self.incident()?.stamp_ns),
        }
    }

    /// Whose memory it is about: of an incident, the first victim's.
    pub(crate) fn owner(&self) -> (Option<&Pod>, Option<&Container>) {
        match self {
            Self::Incident(incident) => incident.victims.first().map_or((None, None), |victim| {
                (victim.pod.as_ref(), victim.container.as_ref())
            }),
            Self::NoVictim(no_victim) => (no_victim.pod.as_ref(), no_victim.container.as_ref()),
            Self::Mismatch(mismatch) => {
                let status = &mismatch.status;
                (status.pod.as_ref(), Some(&status.container))
            }
            Self::Warning(warning) => (warning.pod.as_ref(), warning.container.as_ref()),
            Self::BadAnnotations(annotations) => (Some(&annotations.pod), None),
        }
    }

    /// For people. Names in it are hostile: the place it goes to escapes them.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Incident(incident) => sentence(incident),
            Self::NoVictim(no_victim) => sentence(&no_victim.incident),
            Self::Mismatch(mismatch) => status_check::sentence(mismatch),
            Self::Warning(warning) => warning.sentence(),
            Self::BadAnnotations(annotations) => annotations.sentence(),
        }
    }
}

impl From<Arc<Incident>> for Report {
    fn from(incident: Arc<Incident>) -> Self {
        Self::Incident(incident)
    }
}

impl From<Incident> for Report {
    fn from(incident: Incident) -> Self {
        Self::Incident(Arc::new(incident))
    }
}
