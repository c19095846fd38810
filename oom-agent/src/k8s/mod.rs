//! The API server: who the agent is there, the pods it looks up, and the Events it writes. The only room that names kube.

mod annotations;
mod bucket;
mod cluster;
mod credentials;
mod draft;
mod error;
mod event;
mod facts;
#[cfg(test)]
pub(crate) mod fake;
mod ledger;
mod note;
mod pods;
mod reader;
mod refusal;
mod wire;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;

#[cfg(test)]
pub(crate) use cluster::fake as cluster_fake;
pub use cluster::{
    AgentEvent, Change, Cluster, ContainerStatus, Ended, Lease, List, Note, Page, PodStatus,
    PodStream,
};
pub use credentials::{Credentials, Source, find};
pub use draft::Draft;
pub use error::{ApiError, CredentialsError, RecordError};
pub use pods::LookupError;
pub use reader::PodReader;
pub use wire::CallError;

use crate::report::Report;
use draft::On;
use error::{AGENT, Attempt};
use event::Place;
use facts::Facts;
use ledger::{Admission, Ledger, Update};
use pods::Pods;
use refusal::Refusal;
use service::error_chain::chain;

/// What the API server is given to answer one request.
const PATIENCE: Duration = Duration::from_secs(5);

const WRITE: Attempt = Attempt {
    to: "write an Event",
    right: "`create` and `patch` on `events` of the core group",
    client: &AGENT,
};

/// Writes the Events of incidents: on the pods, and on the Node.
pub struct Recorder {
    client: Client,
    /// This agent, in the Event's `reportingInstance`: the node's name.
    instance: String,
    /// Whether that is surely the Node's name.
    tell_node: bool,
    pods: Pods,
    ledger: Ledger,
}

/// Something to be written.
#[derive(Clone, Debug)]
pub enum Job {
    /// A new Event.
    Event(Box<Draft>),
    /// The series of the last Event on that object.
    Series(String),
}

/// What an incident makes.
#[derive(Debug, Default)]
pub struct Admitted {
    /// To be written, and not before when.
    pub jobs: Vec<(Job, Instant)>,
    /// Events that it would have had, were there not too many on the same object.
    pub held_back: u64,
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The Event stands.
    Created,
    /// It stood already: an earlier request had come through, though its answer had not.
    AlreadyThere,
    /// The series is up to date.
    Patched,
    /// There are too many on the Node that should have stood in for the pod.
    HeldBack,
    /// There is nothing to bring up to date, or no object to write on.
    Nothing,
}

// === impl Recorder ===

impl Recorder {
    /// Connects when first used. `node` names this agent's node; `tell_node` says that it is surely the
    /// Node's name in the API, so that Events may be written on it.
    pub fn new(
        credentials: Credentials,
        node: String,
        tell_node: bool,
    ) -> Result<Self, CredentialsError> {
        Ok(Self::with_client(credentials.client()?, node, tell_node))
    }

    fn with_client(client: Client, node: String, tell_node: bool) -> Self {
        Self {
            pods: Pods::new(client.clone(), node.clone()),
            client,
            instance: node,
            tell_node,
            ledger: Ledger::default(),
        }
    }

    /// Asks the same API server for pods.
    pub fn pod_reader(&self) -> PodReader {
        PodReader::new(self.client.clone())
    }

    /// Decides what is to be written of a report. Pure but for the memory of what was written before.
    pub fn admit(&mut self, report: &Report, now: Instant) -> Admitted {
        let mut admitted = Admitted::default();
        for mut draft in draft::drafts(report, self.tell_node) {
            match self.ledger.admit(&draft, now) {
                Admission::Write { held_back } => {
                    draft.held_back = held_back;
                    admitted.jobs.push((Job::Event(Box::new(draft)), now));
                }
                Admission::Repeat { update } => {
                    admitted.held_back += 1;
                    let job = update.map(|due| (Job::Series(draft.object()), due));
                    admitted.jobs.extend(job);
                }
                Admission::HoldBack => admitted.held_back += 1,
            }
        }
        admitted
    }

    /// One attempt. `last` is one that waits no longer for names: without the pod's the Event is written
    /// on the Node then, without the container's on the pod as a whole.
    pub async fn write(&mut self, job: &mut Job, last: bool) -> Result<Written, RecordError> {
        if let Job::Series(object) = job {
            match self.patch(object).await {
                // Events live for an hour; this one has gone, and its story goes on.
                Err(error) if error.is_gone() => match self.ledger.renew(object) {
                    Some(draft) => *job = Job::Event(Box::new(draft)),
                    None => return Ok(Written::Nothing),
                },
                done => return done,
            }
        }
        match job {
            Job::Event(draft) => self.create(draft, last).await,
            Job::Series(_) => Ok(Written::Nothing),
        }
    }

    /// That job is given up.
    pub fn give_up(&mut self, job: &Job) {
        match job {
            Job::Event(draft) => self.ledger.given_up(draft),
            Job::Series(object) => self.ledger.updated(object, Instant::now()),
        }
    }

    async fn create(&mut self, draft: &mut Draft, last: bool) -> Result<Written, RecordError> {
        if let Err(error) = self.find_name(draft).await {
            let error = RecordError::from_lookup(error, WRITE);
            // A server that is away takes no Event on the Node either.
            if error.is_servers() || !last {
                return Err(error);
            }
            if !self.tell_node || !draft.has_stand_in() {
                self.ledger.given_up(draft);
                return Ok(Written::Nothing);
            }
            if !self.stand_in(draft) {
                return Ok(Written::HeldBack);
            }
        }
        let facts = self.facts(draft).await;
        let reason = facts.as_ref().err().map(|error| chain(error).to_string());
        let facts = facts
            .as_ref()
            .map_err(|_| reason.as_deref().unwrap_or_default());
        if !last && draft.unnamed().is_some() {
            let reason = "only the container's id is".to_owned();
            return Err(RecordError::Unnamed { reason });
        }
        let Some((place, event)) = event::of(draft, facts, &self.instance) else {
            return Ok(Written::Nothing);
        };
        let path = event::path(&place.namespace);
        let request = serde_json::to_vec(&event)
            .map_err(kube::core::request::Error::SerializeBody)
            .and_then(|body| Request::new(path).create(&PostParams::default(), body));
        let written = match wire::call(&self.client, request, PATIENCE).await {
            Ok(_) => Written::Created,
            Err(error) if error.refusal() == Some(Refusal::Exists) => Written::AlreadyThere,
            Err(error) => return Err(RecordError::Api(WRITE.failed_in(place.namespace, error))),
        };
        self.ledger.written(draft, place);
        Ok(written)
    }

    /// Gives the draft's pod its name, where it has none.
    async fn find_name(&mut self, draft: &mut Draft) -> Result<(), LookupError> {
        let On::Pod(subject) = &mut draft.on else {
            return Ok(());
        };
        if subject.is_named() {
            return Ok(());
        }
        let uid = subject.pod.uid.as_deref().ok_or(LookupError::Gone)?;
        let (namespace, name) = self.pods.named(uid).await?;
        subject.pod.namespace = Some(namespace);
        subject.pod.name = Some(name);
        Ok(())
    }

    /// The Node stands in for a pod whose name never came; false when it has too many Events already.
    fn stand_in(&mut self, draft: &mut Draft) -> bool {
        self.ledger.given_up(draft);
        let subject = draft.subject().cloned();
        draft.on = On::Node(subject);
        match self.ledger.admit(draft, Instant::now()) {
            Admission::Write { held_back } => {
                draft.held_back = held_back;
                true
            }
            Admission::Repeat { .. } => {
                // Told with the next repeat.
                self.ledger.updated(&draft.object(), Instant::now());
                false
            }
            Admission::HoldBack => false,
        }
    }

    /// What the API server knows of the pod; with it, the container's name where only its id is known.
    async fn facts(&mut self, draft: &mut Draft) -> Result<Facts, LookupError> {
        let On::Pod(subject) = &mut draft.on else {
            return Ok(Facts::default());
        };
        let pod = &subject.pod;
        let (Some(namespace), Some(name)) = (&pod.namespace, &pod.name) else {
            return Err(LookupError::Gone);
        };
        let container = subject.container.as_ref();
        let uid = pod.uid.as_deref();
        let facts = self.pods.facts(namespace, name, uid, container).await?;
        if let Some(container) = &mut subject.container
            && container.name.is_none()
        {
            container.name = facts.ids.get(&container.id).cloned();
        }
        Ok(facts)
    }

    async fn patch(&mut self, object: &str) -> Result<Written, RecordError> {
        let (place, count, observed) = match self.ledger.update(object) {
            Update::Patch {
                place,
                count,
                observed,
            } => (place, count, observed),
            Update::Early => return Err(RecordError::Early),
            Update::Gone => {
                self.ledger.updated(object, Instant::now());
                return Ok(Written::Nothing);
            }
        };
        let Place { namespace, name } = place;
        let recount = Patch::Merge(event::recount(count, observed));
        let request =
            Request::new(event::path(&namespace)).patch(&name, &PatchParams::default(), &recount);
        let patched = wire::call(&self.client, request, PATIENCE).await;
        patched.map_err(|error| RecordError::Api(WRITE.failed_in(namespace, error)))?;
        self.ledger.updated(object, Instant::now());
        Ok(Written::Patched)
    }
}
