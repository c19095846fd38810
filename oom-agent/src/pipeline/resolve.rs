//! A found kill becomes an incident: its container, its pod, its moment.

use std::collections::{BTreeSet, HashMap};
use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::time::timeout;

use super::discover::Runtimes;
use super::names::Names;
use super::sampling::Watched;
use crate::cgroup;
use crate::clock;
use crate::cri;
use crate::escape;
use crate::host::{Host, NodeRoot};
use crate::incident::{
    self, Container, Control, Fate, Found, Incident, Killed, Limit, Outcome, Pod, Scope, VERSION,
    Victim,
};
use crate::incident::{Before, Memory};
use crate::pressure::Recorder;
use crate::procfs::Procfs;
use crate::sinks;
use crate::snapshot::Snapshots;

/// The longest reason in `degraded`, in bytes: parts of it are the runtime's own words.
const REASON_LEN: usize = 512;

/// Given to look at what memory was made of; it takes some 60 µs for a cgroup.
const SNAPSHOT: Duration = Duration::from_millis(100);

/// Containers of one incident that are asked for at once: a cgroup that dies as one has few.
const AT_ONCE: usize = 32;

/// Names for who can wait longer than the incident could.
pub(super) struct Later(pub(super) Arc<Names>);

pub(super) struct Resolver {
    host: Host,
    /// `None` where /proc is another PID namespace's.
    procfs: Option<Procfs>,
    snapshots: Snapshots,
    recorder: Recorder,
    pub(super) node: NodeRoot,
    /// When this agent attached its programs: `CLOCK_MONOTONIC`, in ns.
    attached_ns: AtomicU64,
    pub(super) names: Arc<Names>,
    pub(super) runtimes: Arc<Runtimes>,
}

// === impl Later ===

impl sinks::Names for Later {
    fn name(&self, id: &str) -> Option<(Container, Option<Pod>)> {
        let found = self.0.get(id);
        if found.is_none() {
            self.0.want(id);
        }
        found.map(|found| (found.container, found.pod))
    }
}

// === impl Resolver ===

impl Resolver {
    pub(super) fn new(
        host: Host,
        procfs: Option<Procfs>,
        snapshots: Snapshots,
        watched: &Watched,
        node: NodeRoot,
        names: Arc<Names>,
        runtimes: Arc<Runtimes>,
    ) -> Arc<Self> {
        Arc::new(Self {
            host,
            procfs,
            snapshots,
            recorder: watched.recorder.clone(),
            node,
            attached_ns: AtomicU64::new(0),
            names,
            runtimes,
        })
    }

    /// Whether what no program of the kernel's reads can be read from /proc.
    pub(super) fn reads_procfs(&self) -> bool {
        self.procfs.is_some()
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
            mut degraded,
        } = found;
        let first = killed.first().map_or(0, |killed| killed.marked);
        let stamps = killed.iter().map(|killed| killed.stamp_ns).collect();
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
            let (victim, outcome, reasons) = victim(killed, &self.node);
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

    /// Whether a container runtime may have something to say of it.
    pub(super) fn has_container(incident: &Incident) -> bool {
        let mut victims = incident.victims.iter();
        victims.any(|victim| victim.container.as_ref().is_some_and(is_a_runtimes))
    }

    /// Whether it is another node's on the same kernel: all of it lies outside of this node's cgroups,
    /// and no runtime of this node knows its containers.
    pub(super) fn is_elsewhere(&self, incident: &Incident) -> bool {
        let is_elsewhere = |victim: &Victim| {
            let path = victim.cgroup.as_deref();
            let container = victim.container.as_ref();
            path.is_some_and(|path| self.node.below(path).is_none())
                && container.is_none_or(|container| self.names.get(&container.id).is_none())
        };
        !incident.victims.is_empty() && incident.victims.iter().all(is_elsewhere)
    }

    /// Adds what the runtimes have said before it was killed. False: one has to be asked.
    pub(super) fn name_known(&self, incident: &mut Incident) -> bool {
        let mut is_whole = true;
        for victim in &mut incident.victims {
            let container = victim.container.as_ref();
            if let Some(container) = container.filter(|container| is_a_runtimes(container)) {
                match self.names.get(&container.id) {
                    Some(found) => name(victim, &found),
                    None => is_whole = false,
                }
            }
        }
        is_whole
    }

    /// Asks the runtimes for what they have not said before: all at once, so that the incident waits for
    /// one answer. Never fails, as [`resolve`](Self::resolve) does not.
    pub(super) async fn name(&self, mut incident: Incident) -> Incident {
        let containers = incident.victims.iter().filter_map(|v| v.container.as_ref());
        let unknown: BTreeSet<String> = containers
            .filter(|it| is_a_runtimes(it) && self.names.get(&it.id).is_none())
            .map(|it| it.id.clone())
            .collect();
        let ask = async |id: String| {
            let answer = self.runtimes.container(&id, cri::PATIENCE).await;
            (id, answer)
        };
        let asked = stream::iter(unknown.clone()).map(ask);
        let mut answers = asked.buffer_unordered(AT_ONCE);
        let mut reasons = HashMap::new();
        let all = async {
            while let Some((id, answer)) = answers.next().await {
                match answer {
                    Ok(found) => self.names.learn(found),
                    Err(unknown) => {
                        reasons.insert(id, unknown.reason);
                    }
                }
            }
        };
        // Each has that long; however many there are, and while runtimes are looked for, no more.
        let _late = timeout(cri::PATIENCE.saturating_mul(2), all).await;
        if self.is_elsewhere(&incident) {
            return incident;
        }
        for id in unknown.iter().filter(|id| self.names.get(id).is_none()) {
            let reason = reasons.entry(id.clone());
            let reason =
                reason.or_insert_with(|| "no container runtime answered in time".to_owned());
            *reason = escape::truncate(reason, REASON_LEN).to_owned();
            tracing::warn!(container = id, error = reason, "the container goes unnamed");
            self.names.want(id);
        }
        for (n, victim) in incident.victims.iter_mut().enumerate() {
            let Some(id) = victim.container.as_ref().map(|container| &container.id) else {
                continue;
            };
            if let Some(found) = self.names.get(id) {
                name(victim, &found);
            } else if let Some(reason) = reasons.get(id) {
                let fields = ["container.name", "pod"];
                let degraded = fields.map(|field| format!("victims[{n}].{field}: {reason}"));
                incident.degraded.extend(degraded);
            }
        }
        incident
    }

    /// What is known of a container, else what the runtimes say now.
    pub(super) async fn container(&self, id: &str) -> Option<(Container, Option<Pod>)> {
        let found = match self.names.get(id) {
            Some(found) => found,
            None => self.runtimes.container(id, cri::PATIENCE).await.ok()?,
        };
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
        let (victim, degraded) = (&mut killed.victim, &mut killed.degraded);
        match (&self.procfs, killed.fate) {
            (_, Fate::Autopsied) | (None, Fate::Outside) => {}
            (Some(_), _) if waited => degraded.push(
                "not read from /proc: the kill waited for the agent to be started again".to_owned(),
            ),
            (Some(procfs), _) => procfs.fill(victim, degraded),
            (None, _) => {
                degraded.push("not read from /proc: it is not the host's here".to_owned());
            }
        }
    }
}

/// Whether a runtime can be asked for it by its id.
fn is_a_runtimes(container: &Container) -> bool {
    !container
        .runtime
        .as_deref()
        .is_some_and(cgroup::is_of_machines)
}

fn name(victim: &mut Victim, found: &cri::Identity) {
    victim.container = Some(found.container.clone());
    if found.pod.is_some() {
        victim.pod.clone_from(&found.pod);
    }
}

/// A victim with its container and pod, as far as its cgroup tells, and what became of it.
fn victim(killed: Killed, node: &NodeRoot) -> (Victim, Outcome, Vec<String>) {
    let Killed {
        mut victim,
        exiting,
        mut degraded,
        ..
    } = killed;
    let identity = victim
        .cgroup
        .as_deref()
        .map(|path| cgroup::parse(node.below(path).unwrap_or(path)))
        .unwrap_or_default();
    let is_machine = identity.is_machine();
    victim.container = identity.container_id.map(|id| Container {
        name: is_machine.then(|| id.clone()),
        id,
        runtime: identity.runtime.map(|runtime| runtime.as_str().to_owned()),
    });
    victim.pod = identity.pod_uid.map(|uid| Pod {
        uid: Some(uid),
        ..Pod::default()
    });
    let outcome = outcome(&victim, exiting, &mut degraded);
    (victim, outcome, degraded)
}

/// PID 1 of a PID namespace takes its container along.
fn outcome(victim: &Victim, exiting: bool, degraded: &mut Vec<String>) -> Outcome {
    if exiting {
        return Outcome::AlreadyExiting;
    }
    if victim.container.is_none() {
        return Outcome::Unknown;
    }
    match (victim.namespace_level, victim.namespace_pid) {
        (Some(1..), Some(1)) => Outcome::ContainerDied,
        (Some(1..), Some(_)) => Outcome::ChildDied,
        (Some(0), _) => {
            degraded.push("outcome: the container shares the host's PID namespace".to_owned());
            Outcome::Unknown
        }
        _ => {
            degraded.push("outcome: its PID namespace is not known".to_owned());
            Outcome::Unknown
        }
    }
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
