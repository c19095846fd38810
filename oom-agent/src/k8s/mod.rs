//! The client of the API server: credentials, pod lookups and Events. Only this room uses kube.

mod annotations;
mod bucket;
mod cluster;
mod credentials;
mod draft;
mod error;
mod event;
#[cfg(test)]
pub(crate) mod fake;
mod ledger;
mod note;
mod pod;
mod pods;
mod refusal;
mod wire;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use kube::Client;

pub(crate) use cluster::{AgentEvent, Change, Cluster, Lease, StatusKill};
pub(crate) use credentials::{Credentials, Source, find_credentials};
pub(crate) use draft::Draft;
pub(crate) use error::{ApiError, CredentialsError, RecordError};
pub(crate) use pod::{ContainerStatus, Ended, Pod};
#[cfg(test)]
pub(crate) use pod::{List, State};
pub(crate) use pods::{LookupError, PodReader};

use crate::report::Report;
use draft::Regarding;
use error::{AGENT, Attempt};
use ledger::{Admission, Ledger};
use pods::Pods;
use service::error_chain::chain;

static WRITE: Attempt = Attempt {
    to: "write an Event",
    right: "`create` and `patch` on `events` of the core group",
    quota: "count/events",
    client: &AGENT,
};

/// Writes Events on pods and on the Node.
pub(crate) struct Recorder {
    client: Client,
    /// The Event's `reportingInstance`: the node's name.
    instance: String,
    /// Whether `instance` is known to be the Node's name in the API.
    use_node: bool,
    pods: Pods,
    ledger: Ledger,
}

/// One write.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// A new Event.
    Event(Box<Draft>),
    /// An update of the series of the last Event on that object.
    Series(String),
}

/// The writes that a report needs.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    /// With the time before which each must not be written.
    pub(crate) jobs: Vec<(Job, Instant)>,
    /// Events held back, as their object has too many.
    pub(crate) held_back: u64,
}

/// The result of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Created,
    /// An earlier request had succeeded, and its answer was lost.
    AlreadyThere,
    Patched,
    /// The Node, which would have replaced the pod, has too many Events.
    HeldBack,
    /// There is nothing to update, or no object to write on.
    Nothing,
}

// === impl Recorder ===

impl Recorder {
    /// Connects on first use. `use_node` is whether `node` is known to be the Node's name in the API, so
    /// that Events may be written on it.
    pub(crate) fn new(
        credentials: Credentials,
        node: String,
        use_node: bool,
    ) -> Result<Self, CredentialsError> {
        let client = credentials.client()?;
        Ok(Self {
            pods: Pods::new(client.clone(), node.clone()),
            client,
            instance: node,
            use_node,
            ledger: Ledger::default(),
        })
    }

    /// Shares the connection.
    pub(crate) fn pod_reader(&self) -> PodReader {
        let client = self.client.clone();
        PodReader { client }
    }

    /// Decides what to write for a report, by what was written before. No IO.
    pub(crate) fn admit(&mut self, report: &Report, now: Instant) -> Admitted {
        let mut admitted = Admitted::default();
        for mut draft in draft::draft_events(report, self.use_node) {
            match self.ledger.admit(&draft, now) {
                Admission::Write { held_back } => {
                    draft.held_back = held_back;
                    admitted.jobs.push((Job::Event(Box::new(draft)), now));
                }
                Admission::Repeat { update } => {
                    admitted.held_back += 1;
                    let job = update.map(|due| (Job::Series(draft.object_key()), due));
                    admitted.jobs.extend(job);
                }
                Admission::HoldBack => admitted.held_back += 1,
            }
        }
        admitted
    }

    /// One attempt. The `last` one no longer waits for names: without the pod's name the Event goes to the
    /// Node, without the container's to the pod as a whole.
    pub(crate) async fn write(
        &mut self,
        job: &mut Job,
        last: bool,
    ) -> Result<Written, RecordError> {
        if let Job::Series(object) = job {
            match self.update_series(object).await {
                // Events live for an hour; this one is gone, and its kills go on.
                Err(error) if error.is_gone() => match self.ledger.restart_series(object) {
                    Some(draft) => *job = Job::Event(Box::new(draft)),
                    None => return Ok(Written::Nothing),
                },
                done => return done,
            }
        }
        match job {
            Job::Event(draft) => self.create_event(draft, last).await,
            Job::Series(_) => Ok(Written::Nothing),
        }
    }

    pub(crate) fn give_up(&mut self, job: &Job) {
        match job {
            Job::Event(draft) => self.ledger.record_given_up(draft),
            Job::Series(object) => self.ledger.record_updated(object, Instant::now()),
        }
    }

    async fn create_event(
        &mut self,
        draft: &mut Draft,
        last: bool,
    ) -> Result<Written, RecordError> {
        if let Err(error) = self.find_name(draft).await {
            let error = RecordError::from_lookup(error, &WRITE);
            // An unreachable server accepts no Event on the Node either.
            if error.is_servers() || !last {
                return Err(error);
            }
            if !self.use_node || !draft.may_regard_node() {
                self.ledger.record_given_up(draft);
                return Ok(Written::Nothing);
            }
            if !self.move_to_node(draft) {
                return Ok(Written::HeldBack);
            }
        }
        let pod = self.read_pod(draft).await;
        let reason = pod.as_ref().err().map(|error| chain(error).to_string());
        let pod = pod
            .as_ref()
            .map_err(|_| reason.as_deref().unwrap_or_default());
        if !last && draft.unnamed().is_some() {
            let reason = "only the container's id is".to_owned();
            return Err(RecordError::Unnamed { reason });
        }
        let Some((key, event)) = event::build(draft, pod, &self.instance) else {
            return Ok(Written::Nothing);
        };
        let created = event::create(&self.client, &key.namespace, &event, &WRITE).await;
        let written = if created.map_err(RecordError::Api)? {
            Written::Created
        } else {
            Written::AlreadyThere
        };
        self.ledger.record_written(draft, key);
        Ok(written)
    }

    /// Sets the name of the draft's pod, where it has none.
    async fn find_name(&mut self, draft: &mut Draft) -> Result<(), LookupError> {
        let Regarding::Pod(subject) = &mut draft.regarding else {
            return Ok(());
        };
        if subject.is_named() {
            return Ok(());
        }
        let uid = subject.pod.uid.as_deref().ok_or(LookupError::Gone)?;
        let (namespace, name) = self.pods.find_name(uid).await?;
        subject.pod.namespace = Some(namespace);
        subject.pod.name = Some(name);
        Ok(())
    }

    /// Writes on the Node for a pod whose name was not found; false when the Node has too many Events.
    fn move_to_node(&mut self, draft: &mut Draft) -> bool {
        self.ledger.record_given_up(draft);
        let subject = draft.subject().cloned();
        draft.regarding = Regarding::Node(subject);
        match self.ledger.admit(draft, Instant::now()) {
            Admission::Write { held_back } => {
                draft.held_back = held_back;
                true
            }
            Admission::Repeat { .. } => {
                // The next repeat updates it.
                self.ledger
                    .record_updated(&draft.object_key(), Instant::now());
                false
            }
            Admission::HoldBack => false,
        }
    }

    /// Also sets the container's name, where only its id is known.
    async fn read_pod(&mut self, draft: &mut Draft) -> Result<Pod, LookupError> {
        let Regarding::Pod(subject) = &mut draft.regarding else {
            return Ok(Pod::default());
        };
        let pod = self.pods.read_pod(subject).await?;
        if let Some(container) = &mut subject.container
            && container.name.is_none()
        {
            container.name = pod.container_name(&container.id).map(str::to_owned);
        }
        Ok(pod)
    }

    async fn update_series(&mut self, object: &str) -> Result<Written, RecordError> {
        let Some(series) = self.ledger.repeated_series(object) else {
            self.ledger.record_updated(object, Instant::now());
            return Ok(Written::Nothing);
        };
        let event = series.event.as_ref().ok_or(RecordError::Early)?;
        let (count, observed) = (series.count, series.latest.report.time());
        let patched = event::patch_series(&self.client, event, (count, observed), &WRITE);
        patched.await.map_err(RecordError::Api)?;
        self.ledger.record_updated(object, Instant::now());
        Ok(Written::Patched)
    }
}

/// Removes the entry that was used the longest ago, where the map has no room for another.
fn make_room<K: Clone + Eq + Hash, V>(
    all: &mut HashMap<K, V>,
    room: usize,
    used: impl Fn(&V) -> Instant,
) {
    if all.len() < room {
        return;
    }
    let oldest = all.iter().min_by_key(|(_, value)| used(value));
    if let Some(key) = oldest.map(|(key, _)| key.clone()) {
        all.remove(&key);
    }
}
