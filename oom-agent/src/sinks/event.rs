//! The Kubernetes Events of each incident, one request at a time.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service::clock;
use service::error_chain::chain;

use super::backlog::{Backlog, Entry, Setback};
use super::{Inlet, Plan, Sink};
use crate::incident::{Container, Incident, Pod};
use crate::k8s::{Job, RecordError, Recorder, Written};
use crate::metrics::{EventCounts, Metrics, SinkCounts};
use crate::receipts::Receipts;
use crate::report::Report;

/// A pod's name is awaited this long; then the Event is written on the Node.
const NAMELESS: Duration = Duration::from_mins(2);

/// After a restart of the agent, as long as before it: see the backlog.
const REPLAY_FOR: Duration = super::backlog::AGE;

/// A container's name is awaited this long where its pod's is known; then the Event is about the pod.
const POD_ALONE: Duration = Duration::from_secs(30);

/// Reports that are no incident wait for the backlog only while it has fewer entries: the rest is for kills.
const OTHERS_IN_BACKLOG: usize = 64;

/// Those that wait for that.
const OTHERS: usize = 256;

/// By then a container near its limit is away from it, or was killed.
const WARNING: Duration = Duration::from_mins(1);

/// The sink's name.
pub const NAME: &str = "kubernetes";

/// Who may know the name of a container later than the incident was told.
pub trait Names: Send + Sync + 'static {
    /// Of the container with that id. `None` while nobody knows: somebody is asked meanwhile.
    fn name(&self, id: &str) -> Option<(Container, Option<Pod>)>;
}

/// Starts the sink. `connect` looks for the API server meanwhile; without one there are no Events.
/// `names` may know later what it did not when the incident was reported. `warns`: containers near their
/// limits have Events, too.
pub(crate) fn start(
    connect: impl Future<Output = Option<Recorder>> + Send + 'static,
    names: impl Names,
    warns: bool,
    metrics: &Metrics,
    receipts: Receipts,
) -> Sink {
    let events = metrics.events.clone();
    let plan = Plan {
        name: NAME.to_owned(),
        accepts: Box::new(move |report| warns || !report.is_warning()),
        others: OTHERS,
        other_counts: None,
        replay_for: REPLAY_FOR,
        metrics,
    };
    Sink::start(plan, |inlet, counts| {
        run(connect, names, inlet, counts, events, receipts)
    })
}

async fn run(
    connect: impl Future<Output = Option<Recorder>>,
    names: impl Names,
    mut inlet: Inlet,
    counts: SinkCounts,
    events: EventCounts,
    receipts: Receipts,
) {
    let Some(recorder) = connect.await else {
        loop {
            tokio::select! {
                incident = inlet.incidents.recv_until_shutdown() => match incident {
                    Some(incident) => {
                        receipts.settle(&incident.id);
                        counts.skipped.inc()
                    }
                    None => return,
                },
                _ = inlet.others.recv() => counts.skipped.inc(),
            };
        }
    };
    let mut writer = Writer {
        recorder,
        names,
        backlog: Backlog::default(),
        ending: false,
        counts,
        events,
        receipts,
        open: HashMap::new(),
    };
    let Inlet { incidents, others } = &mut inlet;
    while !(writer.ending && writer.backlog.is_empty()) {
        let next = writer.backlog.next();
        let has_room_for_others = !writer.ending && writer.backlog.len() < OTHERS_IN_BACKLOG;
        tokio::select! {
            incident = incidents.recv_until_shutdown(), if !writer.ending && writer.backlog.has_room() => {
                if let Some(incident) = incident {
                    writer.take(&incident);
                } else {
                    writer.ending = true;
                    writer.backlog.hurry(Instant::now());
                }
            }
            Some(report) = others.recv(), if has_room_for_others => writer.take_other(&report),
            () = sleep_until(next), if next.is_some() => {
                if let Some(entry) = writer.backlog.take(Instant::now()) {
                    writer.write(entry).await;
                }
            }
        }
    }
}

async fn sleep_until(next: Option<Instant>) {
    if let Some(next) = next {
        tokio::time::sleep_until(next.into()).await;
    }
}

struct Writer<N> {
    recorder: Recorder,
    names: N,
    backlog: Backlog<Job>,
    /// No more will come, and no name is waited for.
    ending: bool,
    counts: SinkCounts,
    events: EventCounts,
    receipts: Receipts,
    /// Events that are still to be written, by the incident. Bounded by the backlog.
    open: HashMap<String, u64>,
}

// === impl Writer ===

impl<N: Names> Writer<N> {
    fn take(&mut self, incident: &Arc<Incident>) {
        let now = Instant::now();
        let admitted = self.recorder.admit(&Arc::clone(incident).into(), now);
        let is_event = |(job, _): &&(Job, Instant)| matches!(job, Job::Event(_));
        let own = admitted.jobs.iter().filter(is_event).count() as u64;
        let all = own + admitted.held_back;
        // The incident itself is counted as one already.
        self.counts.offered.inc_by(all.saturating_sub(1));
        self.counts.held_back.inc_by(admitted.held_back);
        if all == 0 {
            self.counts.skipped.inc();
            tracing::debug!(incident = incident.id, "no Event: nothing to write it on");
        }
        if own == 0 {
            self.receipts.settle(&incident.id);
        } else {
            *self.open.entry(incident.id.clone()).or_default() += own;
        }
        for (job, due) in admitted.jobs {
            self.backlog.push(job, now, due);
        }
    }

    fn take_other(&mut self, report: &Report) {
        let now = Instant::now();
        let admitted = self.recorder.admit(report, now);
        self.counts.held_back.inc_by(admitted.held_back);
        for (job, due) in admitted.jobs {
            self.backlog.push(job, now, due);
        }
    }

    async fn write(&mut self, mut entry: Entry<Job>) {
        let left = self.ending && self.receipts.are_kept();
        let series = matches!(entry.job, Job::Series(_));
        let named = self.find_name(&mut entry.job);
        let mut written = self.recorder.write(&mut entry.job, named).await;
        if matches!(written, Err(RecordError::Unnamed { .. })) {
            let patience = match &entry.job {
                Job::Event(draft) if draft.is_on_named_pod() => POD_ALONE,
                _ => NAMELESS,
            };
            // Whoever waits for a name must not take the room of all others.
            let late = entry.age(Instant::now()) >= patience || !self.backlog.has_room();
            if late || (self.ending && !left) {
                written = self.recorder.write(&mut entry.job, true).await;
            }
        }
        if left && matches!(written, Err(RecordError::Unnamed { .. })) {
            // It is owed still, and the next agent may hear its name.
            tracing::info!(
                incident = id(&entry.job),
                "event left to the next agent: its pod has no name yet"
            );
            self.recorder.give_up(&entry.job);
            return;
        }
        if series && matches!(entry.job, Job::Event(_)) {
            // One more Event than there were to be.
            self.counts.offered.inc();
        }
        match written {
            Ok(written) => {
                self.backlog.answered();
                self.close(&entry.job);
                self.done(&entry.job, written);
            }
            Err(error) if error.is_transient() => self.put_back(entry, &error),
            Err(error) => self.give_up(&entry.job, &error),
        }
    }

    /// A runtime may have told by now what it had not when the incident was told. True where the pod has a
    /// name and its container has one, or never will: it is the pod's sandbox.
    fn find_name(&self, job: &mut Job) -> bool {
        let Job::Event(draft) = job else { return false };
        let found = draft.unnamed().and_then(|id| self.names.name(id));
        let Some((container, pod)) = found else {
            return false;
        };
        draft.set_names(container, pod);
        draft.is_on_named_pod()
    }

    /// With its last Event the incident is owed no more.
    fn close(&mut self, job: &Job) {
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

    fn done(&self, job: &Job, written: Written) {
        let _count = match written {
            Written::Created => Some(self.events.created.inc()),
            Written::Patched => Some(self.events.patched.inc()),
            _ => None,
        };
        let Job::Event(draft) = job else {
            tracing::debug!(outcome = ?written, "series of an event brought up to date");
            return;
        };
        match written {
            Written::HeldBack => {
                self.counts.held_back.inc();
            }
            Written::Nothing => {
                self.counts.skipped.inc();
            }
            _ => match draft.report.kills() {
                Some(kill) => self
                    .counts
                    .count_delivered(kill.stamp_ns, clock::monotonic_ns()),
                None => {
                    self.counts.delivered.inc();
                }
            },
        }
        if matches!(written, Written::Nothing | Written::HeldBack) {
            tracing::warn!(
                incident = draft.report.id(),
                "no Event: its pod's name could not be found out"
            );
            return;
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
        let news = self.backlog.is_news(&entry, setback);
        let incident = id(&entry.job).to_owned();
        let waits = self
            .backlog
            .put_back(entry, setback, Instant::now(), fastrand::f64());
        match waits {
            Ok(wait) => {
                let (error, waiting) = (chain(error), self.backlog.len());
                let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                if news {
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
        self.close(job);
        if matches!(job, Job::Event(_)) {
            self.counts.failed.inc();
        }
        tracing::error!(incident = id(job), error = %chain(error), "event given up");
    }
}

/// For logs.
fn id(job: &Job) -> &str {
    match job {
        Job::Event(draft) => draft.report.id(),
        Job::Series(object) => object,
    }
}
