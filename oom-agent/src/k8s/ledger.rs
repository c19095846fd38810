//! Which kill has an Event of its own, and which is counted on the last one. Pure: time is an argument.
//!
//! An Event tells one kill; nothing but `series` of it can change later. So every kill has its own, with
//! its own sizes and pids, as long as its object's token bucket lasts; then it is counted in the series
//! of the last one, if that tells the same story, and in the next that passes in any case.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::bucket::Bucket;
use super::draft::{Draft, SeriesKey};
use super::event::Place;

/// Objects that are remembered: more than the pods of a node.
const OBJECTS: usize = 1024;

/// A series is brought up to date no more often than this: each time is a write of the API server's.
const EVERY: Duration = Duration::from_secs(10);

/// What has been written, by object.
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

/// The last Event on an object, and the kills that are counted on it.
#[derive(Debug)]
struct Series {
    story: Option<SeriesKey>,
    /// Of what that Event tells.
    id: String,
    /// Where it lies, once it does.
    place: Option<Place>,
    /// Itself among them.
    count: i32,
    latest: Draft,
    /// An update is under way.
    queued: bool,
    updated: Option<Instant>,
}

/// What becomes of a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// An Event of its own.
    Write {
        /// Kills before it that had none.
        held_back: u64,
    },
    /// It is counted on the last Event; an update of that is to begin then, if none has begun yet.
    Repeat { update: Option<Instant> },
    /// It is another story, and counted in the next Event.
    HoldBack,
}

/// A series as it stands.
#[derive(Debug)]
pub(super) enum Update {
    /// To be written there.
    Patch {
        place: Place,
        count: i32,
        observed: Timestamp,
    },
    /// Its Event is not there yet.
    Early,
    /// Nothing to do any more.
    Gone,
}

// === impl Ledger ===

impl Ledger {
    /// Decides on one kill.
    pub(super) fn admit(&mut self, draft: &Draft, now: Instant) -> Admission {
        let key = draft.object();
        if !self.objects.contains_key(&key) {
            self.make_room();
        }
        let object = self.objects.entry(key).or_insert_with(|| Object {
            bucket: Bucket::default(),
            held_back: 0,
            series: None,
            used: now,
        });
        object.used = now;
        let story = draft.story();
        let burst = draft.burst();
        if object.bucket.take(burst, now) {
            object.series = Some(Series {
                story,
                id: draft.report.id().to_owned(),
                place: None,
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
            Some(series) if series.story == story => {
                series.count = series.count.saturating_add(1);
                series.latest = draft.clone();
                let begun = std::mem::replace(&mut series.queued, true);
                let due = series.updated.map_or(now, |at| (at + EVERY).max(now));
                Admission::Repeat {
                    update: (!begun).then_some(due),
                }
            }
            _ => Admission::HoldBack,
        }
    }

    /// The Event of that draft lies there.
    pub(super) fn written(&mut self, draft: &Draft, place: Place) {
        if let Some(series) = self.series_of(draft) {
            series.place = Some(place);
        }
    }

    /// The Event of that draft will never be; what it would have told of is told by the next.
    pub(super) fn given_up(&mut self, draft: &Draft) {
        let key = draft.object();
        if let Some(object) = self.objects.get_mut(&key) {
            let untold = draft.held_back.saturating_add(1);
            object.held_back = object.held_back.saturating_add(untold);
            if object
                .series
                .as_ref()
                .is_some_and(|series| series.id == draft.report.id())
            {
                object.series = None;
            }
        }
    }

    /// What an update of that object's series has to say now.
    pub(super) fn update(&self, object: &str) -> Update {
        let series = self.objects.get(object).and_then(|o| o.series.as_ref());
        match series {
            Some(series) if series.count < 2 => Update::Gone,
            Some(Series { place: None, .. }) => Update::Early,
            Some(Series {
                place: Some(place),
                count,
                latest,
                ..
            }) => Update::Patch {
                place: place.clone(),
                count: *count,
                observed: latest.report.time(),
            },
            None => Update::Gone,
        }
    }

    /// The update has been done, or never will be: the next repeat begins another.
    pub(super) fn updated(&mut self, object: &str, now: Instant) {
        let series = self.objects.get_mut(object).and_then(|o| o.series.as_mut());
        if let Some(series) = series {
            series.queued = false;
            series.updated = Some(now);
        }
    }

    /// The Event that carries the series is gone: the latest of it has to be written anew, as this draft.
    pub(super) fn renew(&mut self, object: &str) -> Option<Draft> {
        let series = self.objects.get_mut(object)?.series.as_mut()?;
        let mut draft = series.latest.clone();
        draft.held_back = u64::try_from(series.count).unwrap_or(1).saturating_sub(1);
        draft.report.id().clone_into(&mut series.id);
        series.place = None;
        series.count = 1;
        series.queued = false;
        Some(draft)
    }

    fn series_of(&mut self, draft: &Draft) -> Option<&mut Series> {
        let series = self.objects.get_mut(&draft.object())?.series.as_mut()?;
        (series.id == draft.report.id()).then_some(series)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    fn make_room(&mut self) {
        if self.objects.len() < OBJECTS {
            return;
        }
        let oldest = self.objects.iter().min_by_key(|(_, object)| object.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.objects.remove(&key);
        }
    }
}
