//! One reason to swing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::text::cut;

/// The longest id, in bytes. A longer one is rejected: cut, it could equal another.
pub const MAX_ID_BYTES: usize = 128;

/// The longest of the other strings, in bytes. A longer one is cut between two characters:
/// an overlong name does not reject the bonk.
pub const MAX_TEXT_BYTES: usize = 1024;

/// Labels of one bonk, the first by name; more are dropped.
pub(crate) const MAX_LABELS: usize = 64;

/// The longest name and the longest value of a label, in bytes: what Kubernetes allows a
/// name with its prefix. Longer ones are cut.
pub(crate) const MAX_LABEL_BYTES: usize = 317;

/// Samples of usage of one bonk, the last; more are dropped.
pub(crate) const MAX_SAMPLES: usize = 60;

/// The longest verdict, in bytes. A longer one is cut.
pub(crate) const MAX_VERDICT_BYTES: usize = 64;

/// The limit, in the unit of [`Bonk::usage_permille`]; what is more counts as that.
pub(crate) const FULL_PERMILLE: u32 = 1000;

/// An OOM incident, or a test. Every string is bounded, and hostile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bonk {
    /// Chosen by the sender, stable over its retries; 1 to [`MAX_ID_BYTES`] bytes.
    pub id: String,
    /// When the cause happened, by the sender's clock; `None` if it sends no valid time.
    pub time: Option<Timestamp>,
    pub source: String,
    pub node: String,
    pub namespace: String,
    pub pod: String,
    pub container: String,
    /// Process name of the first victim.
    pub comm: String,
    /// One sentence for people.
    pub summary: String,
    pub severity: Severity,
    /// Labels of the pod or of the alert.
    pub labels: BTreeMap<String, String>,
    /// The memory in use in the last minute, in thousandths of the limit, oldest first; at most
    /// [`MAX_SAMPLES`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub usage_permille: Vec<u32>,
    /// Its growth pattern.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verdict: String,
}

/// From mild to worst.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Warning,
    /// A kill is near.
    Critical,
    /// Something was killed at a limit of its own.
    #[default]
    Kill,
    /// The whole node ran out of memory.
    Node,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Malformed {
    #[error("the request carries no item")]
    NoItem,
    #[error("the id is empty; it needs 1 to {MAX_ID_BYTES} bytes")]
    NoId,
    #[error("the id has {bytes} bytes; it may have {MAX_ID_BYTES} at most")]
    LongId { bytes: usize },
}

// === impl Bonk ===

impl Bonk {
    /// Holds the strings to their bounds.
    pub(crate) fn bounded(mut self) -> Result<Self, Malformed> {
        if self.id.is_empty() {
            return Err(Malformed::NoId);
        }
        if self.id.len() > MAX_ID_BYTES {
            let bytes = self.id.len();
            return Err(Malformed::LongId { bytes });
        }
        for (text, max) in [
            (&mut self.source, MAX_TEXT_BYTES),
            (&mut self.node, MAX_TEXT_BYTES),
            (&mut self.namespace, MAX_TEXT_BYTES),
            (&mut self.pod, MAX_TEXT_BYTES),
            (&mut self.container, MAX_TEXT_BYTES),
            (&mut self.comm, MAX_TEXT_BYTES),
            (&mut self.summary, MAX_TEXT_BYTES),
            (&mut self.verdict, MAX_VERDICT_BYTES),
        ] {
            cut(text, max);
        }
        let labels = self.labels.into_iter().take(MAX_LABELS);
        self.labels = labels
            .map(|(mut name, mut value)| {
                cut(&mut name, MAX_LABEL_BYTES);
                cut(&mut value, MAX_LABEL_BYTES);
                (name, value)
            })
            .collect();
        let early = self.usage_permille.len().saturating_sub(MAX_SAMPLES);
        self.usage_permille.drain(..early);
        for permille in &mut self.usage_permille {
            *permille = FULL_PERMILLE.min(*permille);
        }
        Ok(self)
    }

    /// `namespace/pod/container`, without what is not known.
    pub(crate) fn place(&self) -> String {
        let known = [&self.namespace, &self.pod, &self.container];
        let known: Vec<&str> = known
            .into_iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        known.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Bonk, MAX_ID_BYTES, MAX_LABEL_BYTES, MAX_LABELS, MAX_TEXT_BYTES, MAX_VERDICT_BYTES,
        Malformed, Severity,
    };

    #[test]
    fn ids_are_held_to_their_bounds() {
        let with_id = |id: String| {
            let bonk = Bonk {
                id,
                ..Bonk::default()
            };
            bonk.bounded().map(|_| ())
        };
        assert_eq!(with_id(String::new()), Err(Malformed::NoId));
        assert_eq!(with_id("x".into()), Ok(()));
        assert_eq!(with_id("x".repeat(MAX_ID_BYTES)), Ok(()));
        let bytes = MAX_ID_BYTES + 1;
        assert_eq!(with_id("x".repeat(bytes)), Err(Malformed::LongId { bytes }));
    }

    #[test]
    fn the_last_samples_are_kept_and_none_is_above_the_limit() {
        let bonk = Bonk {
            id: "x".into(),
            usage_permille: (0..2000).rev().collect(),
            ..Bonk::default()
        };
        let kept = bonk.bounded().unwrap().usage_permille;
        assert_eq!(kept, (0..60).rev().collect::<Vec<_>>());
        let above = Bonk {
            id: "x".into(),
            usage_permille: vec![999, 1001, u32::MAX],
            ..Bonk::default()
        };
        assert_eq!(above.bounded().unwrap().usage_permille, [999, 1000, 1000]);
    }

    #[test]
    fn every_other_string_is_cut() {
        let long = "ü".repeat(MAX_TEXT_BYTES);
        let bonk = Bonk {
            id: "x".into(),
            time: None,
            source: long.clone(),
            node: long.clone(),
            namespace: long.clone(),
            pod: long.clone(),
            container: long.clone(),
            comm: long.clone(),
            summary: long.clone(),
            severity: Severity::Kill,
            labels: (0..=MAX_LABELS)
                .map(|n| (format!("{n:03}{long}"), long.clone()))
                .collect(),
            usage_permille: Vec::new(),
            verdict: long.clone(),
        };
        let b = bonk.bounded().unwrap();
        for field in [
            b.source,
            b.node,
            b.namespace,
            b.pod,
            b.container,
            b.comm,
            b.summary,
        ] {
            assert_eq!(field.len(), MAX_TEXT_BYTES);
        }
        assert_eq!(b.verdict.len(), MAX_VERDICT_BYTES);
        assert_eq!(b.labels.len(), MAX_LABELS);
        for (name, value) in b.labels {
            assert!(name.len() <= MAX_LABEL_BYTES && value.len() <= MAX_LABEL_BYTES);
        }
    }
}
