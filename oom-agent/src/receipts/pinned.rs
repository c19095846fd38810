//! Records of kills in pinned maps, until their incidents are in the journal.

use std::sync::Arc;

use oom_agent_ebpf::Record;
use oom_capture::probe::{Leftover, PinnedRecords};

/// A cheap handle. The default one keeps nothing.
#[derive(Clone, Default)]
pub(crate) struct Pinned(Option<Arc<PinnedRecords>>);

// === impl Pinned ===

impl Pinned {
    pub(crate) fn new(maps: Option<Arc<PinnedRecords>>) -> Self {
        Self(maps)
    }

    /// Whether the next agent finds what this one does not settle.
    pub(crate) fn is_lasting(&self) -> bool {
        self.0.is_some()
    }

    /// The records of an earlier agent.
    pub(crate) fn leftover(&self) -> Leftover {
        self.0
            .as_ref()
            .map(|maps| maps.read_leftover())
            .unwrap_or_default()
    }

    /// Keeps a record until its kill is settled.
    pub(crate) fn keep_record(&self, record: &Record) {
        if let Some(maps) = &self.0 {
            maps.keep_record(record);
        }
    }

    /// Records that the lines of these kills are written: the next agent writes no second ones.
    pub(crate) fn mark_lines_written(&self, stamps: &[u64]) {
        if let Some(maps) = &self.0 {
            maps.note_lines_written(stamps);
        }
    }

    /// Removes the records of these kills.
    pub(crate) fn settle(&self, stamps: &[u64]) {
        if let Some(maps) = &self.0 {
            maps.settle_kills(stamps);
        }
    }
}
