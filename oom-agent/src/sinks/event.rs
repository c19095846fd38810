//! The sink of Kubernetes Events: one request at a time.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use service::clock;
use service::error_chain::chain;

use super::backlog::{Backlog, Entry, Setback};
use super::{Inlet, Plan, Sink, sleep_until};
use crate::incident::{Container, Pod};
use crate::k8s::{Admitted, Job, RecordError, Recorder, Written};
use crate::metrics::{EventCounts, Metrics, SinkCounts};
use crate::receipts::Receipts;
use crate::report::Report;

/// How long an Event waits for its pod's name; then it is written on the Node.
const NAMELESS: Duration = Duration::from_mins(2);

/// As long as the backlog keeps an Event.
const REPLAY_FOR: Duration = super::backlog::AGE;

/// How long an Event waits for its container's name where the pod's is known; then it is about the pod.
const POD_ALONE: Duration = Duration::from_secs(30);

/// Reports that are no incident enter the backlog only while it has fewer entries: the rest is for kills.
const OTHERS_IN_BACKLOG: usize = 64;

/// The queue of these reports.
const OTHERS: usize = 256;

/// A warning is retried this long: by then its container is away from its limit, or was killed.
const WARNING: Duration = Duration::from_mins(1);

pub(crate) const NAME: &str = "kubernetes";

/// Starts the sink. `connect` finds the API server in the background; without one there are no Events.
/// `find_name` finds the names for the id of a container that had none when the incident was reported; `None`:
/// not yet. `warns`: write Events for containers near their limits, too.
pub(crate) fn start(
    connect: impl Future<Output = Option<Recorder>> + Send + 'static,
    find_name: impl Fn(&str) -> Option<Names> + Send + Sync + 'static,
    warns: bool,
    metrics: &Metrics,
    receipts: Receipts,
) -> Sink {
    let events = metrics.events.clone();
    let plan = Plan {
        name: NAME.to_owned(),
        accepts: Box::new(move |report| warns || !report.is_warning()),
        others: OTHERS,
        others_overflowed: None,
        replay_for: REPLAY_FOR,
    };
    let counts = metrics.sink(&plan.name);
    Sink::start(plan, &counts.clone(), |inlet| {
        run(connect, find_name, inlet, counts, events, receipts)
    })
}

async fn run(
    connect: impl Future<Output = Option<Recorder>>,
    find_name: impl Fn(&str) -> Option<Names>,
    mut inlet: Inlet,
    counts: SinkCounts,
    events: EventCounts,
    receipts: Receipts,
) {
    let Some(recorder) = connect.await else {
        loop {
            tokio::select! {
                incident = inlet.incidents.recv() => match incident {
                    Some(incident) => {
                        receipts.settle(incident.id());
                        counts.skipped.inc()
                    }
                    None => return,
                },
                Some(_) = inlet.others.recv() => counts.skipped.inc(),
            };
        }
    };
    let mut writer = Writer {
        recorder,
        find_name,
        backlog: Backlog::default(),
        ending: false,
        counts,
        events,
        receipts,
        open: HashMap::new(),
    };
    let Inlet { incidents, others } = &mut inlet;
    while !(writer.ending && writer.backlog.is_empty()) {
        let next = writer.backlog.next_due();
        let has_room_for_others = !writer.ending && writer.backlog.len() < OTHERS_IN_BACKLOG;
        tokio::select! {
            incident = incidents.recv(), if !writer.ending && writer.backlog.has_room() => {
                if let Some(incident) = incident {
                    writer.add_report(&incident);
                } else {
                    writer.ending = true;
                    writer.backlog.make_all_due(Instant::now());
                }
            }
            Some(report) = others.recv(), if has_room_for_others => writer.add_report(&report),
            () = sleep_until(next) => {
                if let Some(entry) = writer.backlog.pop_due(Instant::now()) {
                    writer.write_event(entry).await;
                }
            }
        }
    }
}

/// Of a container and its pod.
type Names = (Container, Option<Pod>);

struct Writer<F> {
    recorder: Recorder,
    find_name: F,
    backlog: Backlog<Job>,
    /// The agent ends: no Event waits for a name.
    ending: bool,
    counts: SinkCounts,
    events: EventCounts,
    receipts: Receipts,
    /// The number of unwritten Events of each incident. Bounded by the backlog.
    open: HashMap<String, u64>,
}

// === impl Writer ===

impl<F: Fn(&str) -> Option<Names>> Writer<F> {
    fn add_report(&mut self, report: &Report) {
        let now = Instant::now();
        let admitted = self.recorder.admit(report, now);
        self.counts.held_back.inc_by(admitted.held_back);
        if report.kills().is_some() {
            self.open_incident(report.id(), &admitted);
        }
        for (job, due) in admitted.jobs {
            self.backlog.push(job, now, due);
        }
    }

    fn open_incident(&mut self, id: &str, admitted: &Admitted) {
        let is_event = |(job, _): &&(Job, Instant)| matches!(job, Job::Event(_));
        let own = admitted.jobs.iter().filter(is_event).count() as u64;
        let all = own + admitted.held_back;
        // The incident itself is counted as one already.
        self.counts.offered.inc_by(all.saturating_sub(1));
        if all == 0 {
            self.counts.skipped.inc();
            tracing::debug!(incident = id, "no Event: nothing to write it on");
        }
        if own == 0 {
            self.receipts.settle(id);
        } else {
            *self.open.entry(id.to_owned()).or_default() += own;
        }
    }

    async fn write_event(&mut self, mut entry: Entry<Job>) {
        let left = self.ending && self.receipts.are_kept();
        let series = matches!(entry.job, Job::Series(_));
        let named = self.add_name(&mut entry.job);
        let mut written = self.recorder.write(&mut entry.job, named).await;
        if matches!(written, Err(RecordError::Unnamed { .. })) {
            let patience = match &entry.job {
                Job::Event(draft) if draft.is_on_named_pod() => POD_ALONE,
                _ => NAMELESS,
            };
            // An Event that waits for a name must not take the room of the others.
            let late = entry.age(Instant::now()) >= patience || !self.backlog.has_room();
            if late || (self.ending && !left) {
                written = self.recorder.write(&mut entry.job, true).await;
            }
        }
        if left && matches!(written, Err(RecordError::Unnamed { .. })) {
            // It stays unsettled: the next agent may find the name.
            tracing::info!(
                incident = job_id(&entry.job),
                "event left to the next agent: its pod has no name yet"
            );
            self.recorder.give_up(&entry.job);
            return;
        }
        if series && matches!(entry.job, Job::Event(_)) {
            // An Event in place of a patch: one more than was counted.
            self.counts.offered.inc();
        }
        match written {
            Ok(written) => {
                self.backlog.end_pause();
                self.settle_event(&entry.job);
                self.count_written(&entry.job, written);
            }
            Err(error) if error.is_transient() => self.put_back(entry, &error),
            Err(error) => self.give_up(&entry.job, &error),
        }
    }

    /// Adds names that were found since the incident was reported. True where the pod has a name and its
    /// container has one, or never will: it is the pod's sandbox.
    fn add_name(&self, job: &mut Job) -> bool {
        let Job::Event(draft) = job else { return false };
        let found = draft.unnamed().and_then(&self.find_name);
        let Some((container, pod)) = found else {
            return false;
        };
        draft.set_names(container, pod);
        draft.is_on_named_pod()
    }

    /// Settles the incident with its last Event.
    fn settle_event(&mut self, job: &Job) {
        let Job::Event(draft) = job else { return };
        if draft.report.kills().is_none() {
            return;
        }
        let id = draft.report.id();
        let Some(open) = self.open.get_mut(id) else {
            return;
        };
        *open = open.saturating_sub(1);
        if *open == 0 {
            self.open.remove(id);
            self.receipts.settle(id);
        }
    }

    fn count_written(&self, job: &Job, written: Written) {
        match written {
            Written::Created => _ = self.events.created.inc(),
            Written::Patched => _ = self.events.patched.inc(),
            _ => {}
        }
        let Job::Event(draft) = job else {
            tracing::debug!(outcome = ?written, "series of an event brought up to date");
            return;
        };
        let unwritten = match written {
            Written::HeldBack => Some(&self.counts.held_back),
            Written::Nothing => Some(&self.counts.skipped),
            _ => None,
        };
        if let Some(unwritten) = unwritten {
            unwritten.inc();
            tracing::warn!(
                incident = draft.report.id(),
                "no Event: its pod's name could not be found out"
            );
            return;
        }
        if let Some(kill) = draft.report.kills() {
            let now_ns = clock::monotonic_ns();
            self.counts.count_delivered(kill.stamp_ns, now_ns);
        } else {
            self.counts.delivered.inc();
        }
        let since = |stamp_ns| clock::monotonic_ns().saturating_sub(stamp_ns);
        tracing::info!(
            incident = draft.report.id(),
            outcome = ?written,
            latency_us = draft.report.stamp_ns().map(|stamp_ns| since(stamp_ns) / 1000),
            "event recorded"
        );
    }

    fn put_back(&mut self, entry: Entry<Job>, error: &RecordError) {
        if matches!(&entry.job, Job::Event(draft) if draft.report.is_warning())
            && entry.age(Instant::now()) >= WARNING
        {
            self.give_up(&entry.job, error);
            return;
        }
        if !error.is_wait() {
            self.events.retried.inc();
        }
        let setback = Setback {
            servers: error.is_servers(),
            retry_after: error.retry_after(),
        };
        let is_first = self.backlog.is_first(&entry, setback);
        let incident = job_id(&entry.job).to_owned();
        let waits = self
            .backlog
            .put_back(entry, setback, Instant::now(), fastrand::f64());
        match waits {
            Ok(wait) => {
                let (error, waiting) = (chain(error), self.backlog.len());
                let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                if is_first {
                    tracing::warn!(incident, %error, waiting, retry_in_ms, "event not recorded yet");
                } else {
                    tracing::debug!(incident, %error, waiting, retry_in_ms, "event still not recorded");
                }
            }
            Err(job) => self.give_up(&job, error),
        }
    }

    fn give_up(&mut self, job: &Job, error: &RecordError) {
        self.recorder.give_up(job);
        self.settle_event(job);
        if matches!(job, Job::Event(_)) {
            self.counts.failed.inc();
        }
        tracing::error!(incident = job_id(job), error = %chain(error), "event given up");
    }
}

/// For logs.
fn job_id(job: &Job) -> &str {
    match job {
        Job::Event(draft) => draft.report.id(),
        Job::Series(object) => object,
    }
}
