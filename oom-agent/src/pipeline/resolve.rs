//! A found kill becomes an incident: its container, its pod, its moment.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::discover::Runtime;
use super::sampling::Watched;
use crate::cgroup;
use crate::clock;
use crate::cri;
use crate::error_chain::chain;
use crate::escape;
use crate::host::Host;
use crate::incident::{
    self, Container, Control, Fate, Found, Incident, Killed, Limit, Outcome, Pod, Scope, VERSION,
    Victim,
};
use crate::incident::{Before, Memory};
use crate::pressure::Recorder;
use crate::procfs::Procfs;
use crate::sinks::Names;
use crate::snapshot::Snapshots;

/// The longest reason in `degraded`, in bytes: parts of it are the runtime's own words.
const REASON_LEN: usize = 512;

/// Given to look at what memory was made of; it takes some 60 µs for a cgroup.
const SNAPSHOT: Duration = Duration::from_millis(100);

/// Names for who can wait longer than the incident could.
pub(super) struct Later(pub(super) Arc<Resolver>);

pub(super) struct Resolver {
    host: Host,
    /// `None` where /proc is another PID namespace's.
    procfs: Option<Procfs>,
    snapshots: Snapshots,
    recorder: Recorder,
    /// When this agent attached its programs: `CLOCK_MONOTONIC`, in ns.
    attached_ns: AtomicU64,
    pub(super) runtime: Runtime,
}

// === impl Later ===

impl Names for Later {
    async fn name(&self, id: &str) -> Option<(Container, Option<Pod>)> {
        self.0.container(id).await
    }
}

// === impl Resolver ===

impl Resolver {
    pub(super) fn new(
        host: Host,
        procfs: Option<Procfs>,
        snapshots: Snapshots,
        watched: &Watched,
        runtime: Runtime,
    ) -> Arc<Self> {
        Arc::new(Self {
            host,
            procfs,
            snapshots,
            recorder: watched.recorder.clone(),
            attached_ns: AtomicU64::new(0),
            runtime,
        })
    }

    /// Has limits told by what the kernel counts: for those who cannot probe `out_of_memory`.
    pub(super) fn count_limits(&self) {
        self.snapshots.count_limits(clock::monotonic_ns());
    }

    /// What was killed before has waited in pinned maps: /proc and the cgroups' files tell of another moment.
    pub(super) fn attached(&self, attached_ns: u64) {
        self.attached_ns.store(attached_ns, Ordering::Relaxed);
    }

    /// Whether it was killed before the programs were attached.
    pub(super) fn has_waited(&self, stamp_ns: u64) -> bool {
        stamp_ns < self.attached_ns.load(Ordering::Relaxed)
    }

    /// All that this host tells by itself, at once, but for what memory is made of. Never fails: what
    /// cannot be found out is said in `degraded`.
    pub(super) fn resolve(&self, found: Found) -> Incident {
        let Found {
            stamp_ns,
            trigger,
            control,
            mut killed,
            more,
            stamps,
            ..
        } = found;
        let first = killed.first().map_or(0, |killed| killed.marked);
        let victim_count = more.count() + killed.len() as u64;
        let mut degraded = Vec::new();
        if trigger.is_none() {
            degraded.push("trigger: the mark's record was lost".to_owned());
        }
        // All that goes stale comes first; the runtime may take its time.
        for killed in &mut killed {
            self.read(killed);
        }
        let mut limit = self.limit(control.as_ref(), stamp_ns, &killed);
        let memory = incident::memory_of_interest(&limit, &killed, self.host.page_size);
        let before = self.before(&limit, &memory, stamp_ns);
        let mut victims = Vec::with_capacity(killed.len());
        let mut outcomes = Vec::with_capacity(killed.len());
        for (n, killed) in killed.into_iter().enumerate() {
            let (victim, outcome, reasons) = victim(killed);
            degraded.extend(
                reasons
                    .into_iter()
                    .map(|reason| format!("victims[{n}].{reason}")),
            );
            victims.push(victim);
            outcomes.push(outcome);
        }
        degraded.append(&mut limit.degraded);
        Incident {
            version: VERSION,
            id: format!("{}-{stamp_ns}-{first}", self.host.boot),
            time: clock::wall(stamp_ns, clock::monotonic_ns(), Timestamp::now()),
            node: self.host.node.clone(),
            scope: limit.scope,
            limit_bytes: limit.bytes,
            limit_cgroup: limit.cgroup,
            oom: limit.oom,
            outcome: combined(&outcomes),
            trigger,
            victims,
            victim_count,
            memory,
            before,
            degraded,
            stamp_ns,
            stamps,
        }
    }

    /// Adds what the memory is made of, which changes from now on.
    pub(super) fn look(&self, incident: &mut Incident) {
        if self.has_waited(incident.stamp_ns) {
            let reason = "memory: the kill waited for the agent to be started again";
            incident.degraded.push(reason.to_owned());
            return;
        }
        self.snapshots.take(
            &mut incident.memory,
            Instant::now() + SNAPSHOT,
            &mut incident.degraded,
        );
        if let (Scope::Node, None, Some(node)) = (
            incident.scope,
            incident.limit_bytes,
            incident.memory.first(),
        ) {
            // As the kernel's own `totalpages`.
            let sizes = node.limit_bytes.zip(node.swap_limit_bytes);
            incident.limit_bytes = sizes.map(|(memory, swap)| memory.saturating_add(swap));
        }
    }

    /// Whether the container runtime has something to say of it.
    pub(super) fn is_named_elsewhere(incident: &Incident) -> bool {
        incident
            .victims
            .iter()
            .any(|victim| victim.container.is_some())
    }

    /// Adds what the container runtime says. Never fails, as [`resolve`](Self::resolve) does not.
    pub(super) async fn name(&self, mut incident: Incident) -> Incident {
        // The victims of a group are mostly of one container.
        let mut answers: HashMap<String, Result<cri::Identity, String>> = HashMap::new();
        for (n, victim) in incident.victims.iter_mut().enumerate() {
            let Some(id) = victim.container.as_ref().map(|container| &container.id) else {
                continue;
            };
            let answer = match answers.entry(id.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let answer = self.ask_runtime(new.key()).await;
                    new.insert(answer)
                }
            };
            match answer {
                Ok(found) => {
                    victim.container = Some(found.container.clone());
                    if found.pod.is_some() {
                        victim.pod.clone_from(&found.pod);
                    }
                }
                Err(reason) => incident.degraded.extend(
                    ["container.name", "pod"]
                        .map(|field| format!("victims[{n}].{field}: {reason}")),
                ),
            }
        }
        incident
    }

    /// A container that went unnamed: the runtime may answer by now.
    pub(super) async fn container(&self, id: &str) -> Option<(Container, Option<Pod>)> {
        let found = self.runtime.get().await?.container(id).await.ok()?;
        Some((found.container, found.pod))
    }

    fn limit(&self, control: Option<&Control>, stamp_ns: u64, killed: &[Killed]) -> Limit {
        if let Some(control) = control {
            return incident::seen(control, self.host.page_size);
        }
        let read = killed
            .iter()
            .max_by_key(|killed| (!killed.levels.is_empty(), killed.victim.cgroup.is_some()));
        let path = read.and_then(|killed| killed.victim.cgroup.as_deref());
        let levels = read.map_or(&[][..], |killed| &killed.levels);
        let (now_ns, deadline) = (clock::monotonic_ns(), Instant::now() + SNAPSHOT);
        let rose = path.and_then(|path| self.snapshots.rose(path, stamp_ns, now_ns, deadline));
        if let (Some(path), Some(rose)) = (path, rose) {
            return incident::counted(path, &rose, levels, self.host.page_size);
        }
        incident::inferred(path, levels, self.host.page_size)
    }

    /// How the cgroup whose limit it was came to this, else the victim's or the next above it that was
    /// watched. A copy under a short lock, and some 20 µs of sums.
    fn before(&self, limit: &Limit, memory: &[Memory], stamp_ns: u64) -> Option<Before> {
        if self.has_waited(stamp_ns) {
            return None;
        }
        let of_limit = limit.cgroup.as_deref();
        let victims = memory.last().and_then(|memory| memory.cgroup.as_deref());
        let above = successors(victims, |path| {
            let (parent, _) = path.rsplit_once('/')?;
            (!parent.is_empty()).then_some(parent)
        });
        of_limit.into_iter().chain(above).find_map(|cgroup| {
            let own = of_limit == Some(cgroup);
            let at_kill = memory
                .iter()
                .find(|memory| memory.cgroup.as_deref() == Some(cgroup))
                .and_then(|memory| memory.usage_bytes);
            let bytes = limit.bytes.filter(|_| own);
            self.recorder
                .before(cgroup, stamp_ns, at_kill.or(bytes), bytes)
        })
    }

    /// What its own context did not tell.
    fn read(&self, killed: &mut Killed) {
        let waited = self.has_waited(killed.stamp_ns);
        match (&self.procfs, killed.fate) {
            (_, Fate::Autopsied | Fate::Counted) => {}
            (Some(_), _) if waited => killed.missing.push(
                "not read from /proc: the kill waited for the agent to be started again".to_owned(),
            ),
            (Some(procfs), _) => procfs.fill(killed, clock::since_boot_ns(killed.stamp_ns)),
            (None, _) => {
                let reason = "not read from /proc: it is not the host's here";
                killed.missing.push(reason.to_owned());
            }
        }
        killed.say_missing();
    }

    async fn ask_runtime(&self, id: &str) -> Result<cri::Identity, String> {
        let Some(cri) = self.runtime.get().await else {
            return Err("no container runtime was found".to_owned());
        };
        cri.container(id).await.map_err(|error| {
            let reason = chain(&error).to_string();
            let reason = escape::truncate(&reason, REASON_LEN);
            tracing::warn!(container = id, error = reason, "the container goes unnamed");
            reason.to_owned()
        })
    }
}

/// A victim with its container and pod, as far as its cgroup tells, and what became of it.
fn victim(killed: Killed) -> (Victim, Outcome, Vec<String>) {
    let first = incident::is_first_process(&killed);
    let Killed {
        mut victim,
        exiting,
        mut degraded,
        ..
    } = killed;
    let identity = victim
        .cgroup
        .as_deref()
        .map(cgroup::parse)
        .unwrap_or_default();
    victim.container = identity.container_id.map(|id| Container {
        id,
        name: None,
        runtime: identity.runtime.map(|runtime| runtime.as_str().to_owned()),
    });
    victim.pod = identity.pod_uid.map(|uid| Pod {
        uid: Some(uid),
        ..Pod::default()
    });
    let mut outcome = Outcome::Unknown;
    if victim.container.is_some() {
        victim.first_process = first.ok();
        outcome = match first {
            Ok(true) => Outcome::ContainerDied,
            Ok(false) => Outcome::ChildDied,
            Err(_) if exiting => Outcome::Unknown,
            Err(reason) => {
                degraded.push(format!("outcome: {reason}"));
                Outcome::Unknown
            }
        };
    }
    if exiting {
        outcome = Outcome::AlreadyExiting;
    }
    (victim, outcome, degraded)
}

/// Of several victims the one whose fate says most.
fn combined(outcomes: &[Outcome]) -> Outcome {
    [
        Outcome::ContainerDied,
        Outcome::ChildDied,
        Outcome::AlreadyExiting,
    ]
    .into_iter()
    .find(|outcome| outcomes.contains(outcome))
    .unwrap_or(Outcome::Unknown)
}
