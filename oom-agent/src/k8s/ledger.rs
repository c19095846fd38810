//! Which kill gets its own Event, and which is counted on the last one. Pure: time is an argument.
//!
//! Only `series` of an Event can change later. So every kill gets its own Event, with its sizes and pids,
//! while its object's bucket has tokens. Later kills are counted in the series of the last Event, if its
//! key is the same, and in the next Event in any case.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::draft::Draft;
use super::event::NamespacedName;
use super::make_room;

/// More than a node has pods.
const MAX_OBJECTS: usize = 1024;

/// Between two updates of a series: each is a write on the API server.
const UPDATE_INTERVAL: Duration = Duration::from_secs(10);

/// The Events written, by object.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    objects: HashMap<String, Object>,
}

#[derive(Debug)]
struct Object {
    bucket: Bucket,
    held_back: u64,
    series: Option<Series>,
    used: Instant,
}

/// The last Event on an object, and the kills counted on it.
#[derive(Debug)]
pub(super) struct Series {
    key: Option<String>,
    /// The report's.
    id: String,
    /// `None` until the Event is written.
    pub(super) event: Option<NamespacedName>,
    /// With the Event itself.
    pub(super) count: i32,
    pub(super) latest: Draft,
    /// Whether an update waits or runs.
    queued: bool,
    updated: Option<Instant>,
}

/// How to report a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Write its own Event.
    Write {
        /// Earlier kills without an Event.
        held_back: u64,
    },
    /// Count it on the last Event, and update that at the given time, unless an update waits already.
    Repeat { update: Option<Instant> },
    /// Its series key differs: count it in the next Event.
    HoldBack,
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn admit(&mut self, draft: &Draft, now: Instant) -> Admission {
        let key = draft.object_key();
        if !self.objects.contains_key(&key) {
            make_room(&mut self.objects, MAX_OBJECTS, |object| object.used);
        }
        let object = self.objects.entry(key).or_insert_with(|| Object {
            bucket: Bucket::default(),
            held_back: 0,
            series: None,
            used: now,
        });
        object.used = now;
        let series_key = draft.series_key();
        if object.bucket.take_token(draft.kind().burst, now) {
            object.series = Some(Series {
                key: series_key,
                id: draft.report.id().to_owned(),
                event: None,
                count: 1,
                latest: draft.clone(),
                queued: false,
                updated: None,
            });
            let held_back = std::mem::take(&mut object.held_back);
            return Admission::Write { held_back };
        }
        object.held_back = object.held_back.saturating_add(1);
        match &mut object.series {
            Some(series) if series.key == series_key => {
                series.count = series.count.saturating_add(1);
                series.latest = draft.clone();
                let queued = std::mem::replace(&mut series.queued, true);
                let due = series
                    .updated
                    .map_or(now, |at| (at + UPDATE_INTERVAL).max(now));
                Admission::Repeat {
                    update: (!queued).then_some(due),
                }
            }
            _ => Admission::HoldBack,
        }
    }

    pub(super) fn record_written(&mut self, draft: &Draft, event: NamespacedName) {
        let series = self.series(&draft.object_key());
        if let Some(series) = series.filter(|series| series.id == draft.report.id()) {
            series.event = Some(event);
        }
    }

    /// Records an Event that will never be written: the next one counts its kills.
    pub(super) fn record_given_up(&mut self, draft: &Draft) {
        if let Some(object) = self.objects.get_mut(&draft.object_key()) {
            let unreported = draft.held_back.saturating_add(1);
            object.held_back = object.held_back.saturating_add(unreported);
            object.series.take_if(|it| it.id == draft.report.id());
        }
    }

    /// The series, if it must be updated.
    pub(super) fn repeated_series(&mut self, object: &str) -> Option<&Series> {
        let series = self.series(object)?;
        (series.count >= 2).then_some(series)
    }

    /// Records an update as done or given up: the next repeat starts another.
    pub(super) fn record_updated(&mut self, object: &str, now: Instant) {
        if let Some(series) = self.series(object) {
            series.queued = false;
            series.updated = Some(now);
        }
    }

    /// The draft of a new Event for a series whose Event is gone.
    pub(super) fn restart_series(&mut self, object: &str) -> Option<Draft> {
        let series = self.series(object)?;
        let mut draft = series.latest.clone();
        draft.held_back = u64::try_from(series.count).unwrap_or(1).saturating_sub(1);
        draft.report.id().clone_into(&mut series.id);
        series.event = None;
        series.count = 1;
        series.queued = false;
        Some(draft)
    }

    fn series(&mut self, object: &str) -> Option<&mut Series> {
        self.objects.get_mut(object)?.series.as_mut()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }
}
