//! Makes an incident of a kill: adds the container, the pod, the limit and the memory.

use std::iter::successors;
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memcg::{Memory, MemoryReader, NodeRoot};
use oom_capture::{Kill, Reading, Trigger, Victim as KernelVictim};
use service::clock;

use super::container_names::ContainerNames;
use super::owner::owner_by_path;
use super::runtimes::Runtimes;
use crate::host::Host;
use crate::incident::{
    self, Container, History, Holder, Incident, Outcome, Scope, VERSION, Victim,
};
use crate::procfs::Procfs;
use pressure::FlightRecorder;

/// How long reading the memory breakdown may take: some 60 µs for a cgroup, but longer on a thrashing node.
const SNAPSHOT: Duration = Duration::from_secs(1);

/// How long finding the largest holders may take: on a node without memory, reading waits for memory.
const HOLDERS: Duration = Duration::from_secs(1);

pub(crate) struct Enricher {
    host: Host,
    /// `None` where the host's procfs is not mounted.
    procfs: Option<Procfs>,
    /// This process's pid on the host.
    own_pid: Option<u32>,
    snapshots: MemoryReader,
    recorder: FlightRecorder,
    pub(crate) node: NodeRoot,
    /// When this agent attached its programs: `CLOCK_MONOTONIC`, in ns.
    attached_ns: AtomicU64,
    pub(crate) names: Arc<ContainerNames>,
    pub(crate) runtimes: Arc<Runtimes>,
}

// === impl Enricher ===

impl Enricher {
    pub(crate) fn new(
        host: Host,
        procfs: Option<Procfs>,
        snapshots: MemoryReader,
        recorder: FlightRecorder,
        node: NodeRoot,
        names: Arc<ContainerNames>,
        runtimes: Arc<Runtimes>,
    ) -> Arc<Self> {
        Arc::new(Self {
            host,
            own_pid: procfs.as_ref().and_then(Procfs::own_pid),
            procfs,
            snapshots,
            recorder,
            node,
            attached_ns: AtomicU64::new(0),
            names,
            runtimes,
        })
    }

    /// Whether victims can be read from /proc.
    pub(crate) fn reads_procfs(&self) -> bool {
        self.procfs.is_some()
    }

    /// Begins to find limits by the kernel's counters: for kernels where `out_of_memory` cannot be probed.
    pub(crate) fn count_limits(&self) {
        self.snapshots.start_counting_hits(clock::monotonic_ns());
    }

    /// Kills before this have waited in pinned maps: by now /proc and the cgroups' files have changed.
    pub(crate) fn set_attached(&self, attached_ns: u64) {
        self.attached_ns.store(attached_ns, Ordering::Relaxed);
    }

    /// Whether the kill was before the programs were attached.
    pub(crate) fn has_waited(&self, stamp_ns: u64) -> bool {
        stamp_ns < self.attached_ns.load(Ordering::Relaxed)
    }

    /// Adds what this host knows without waiting, but for the memory breakdown. Never fails: `degraded` has
    /// the reason for each missing field.
    pub(crate) fn enrich(&self, mut kill: Kill) -> Incident {
        // /proc first: it goes stale.
        for killed in &mut kill.victims {
            self.read_process(killed);
        }
        rename_own_thread(&mut kill.trigger, self.own_pid);
        let (stamp_ns, page_size) = (kill.stamp_ns, self.host.page_size);
        let mut incident = self.determine_limit(&kill);
        incident::add_victim_holder(&mut incident, &kill.victims, &self.node, page_size);
        for holder in &mut incident.holders {
            identify_holder(holder, &self.node);
        }
        let memory = incident::memory_to_read(&incident, &kill.victims, page_size);
        let before = self.find_history(&incident, &memory, stamp_ns);
        let first = kill.victims.first().map_or(0, |killed| killed.marked_pid);
        let victim_count = kill.victim_count();
        // The reasons of the limit are listed last.
        let of_limit = take(&mut incident.degraded);
        let trigger = kill.trigger.ok_or("the mark's record was lost");
        let trigger = incident.record("trigger", trigger);
        for (n, killed) in kill.victims.into_iter().enumerate() {
            let (victim, outcome, reasons) = enrich_victim(killed, &self.node);
            let reasons = reasons
                .iter()
                .map(|reason| format!("victims[{n}].{reason}"));
            incident.degraded.extend(reasons);
            incident.victims.push(victim);
            incident.outcome = incident.outcome.min(outcome);
        }
        incident.degraded.extend(of_limit);
        Incident {
            version: VERSION,
            id: format!("{}-{stamp_ns}-{first}", self.host.boot),
            time: clock::wall_time(stamp_ns, clock::monotonic_ns(), Timestamp::now()),
            node: self.host.node.clone(),
            trigger,
            victim_count,
            memory,
            before,
            stamp_ns,
            stamps: kill.stamps,
            ..incident
        }
    }

    /// Adds the memory breakdown and the largest holders.
    pub(crate) fn read_memory(&self, incident: &mut Incident) {
        if self.has_waited(incident.stamp_ns) {
            incident.note(
                "memory",
                "the kill waited for the agent to be started again",
            );
        } else {
            let deadline = Instant::now() + SNAPSHOT;
            self.snapshots
                .fill_memory(&mut incident.memory, deadline, &mut incident.degraded);
            self.find_holders(incident, Instant::now() + HOLDERS);
        }
        if incident.scope != Scope::Node || incident.limit_bytes.is_some() {
            return;
        }
        // As the kernel's own `totalpages`.
        let node = incident.memory.first();
        let sizes = node.and_then(|node| node.limit_bytes.zip(node.swap_limit_bytes));
        let sum = sizes.map(|(memory, swap)| memory.saturating_add(swap));
        let sum = sum.ok_or("neither the kernel nor /proc/meminfo has it");
        incident.limit_bytes = incident.record("limit_bytes", sum);
    }

    /// Finds the largest holders below a limit above the pods, or on the node.
    fn find_holders(&self, incident: &mut Incident, deadline: Instant) {
        let top = match (incident.scope, incident.limit_cgroup.as_deref()) {
            (Scope::Ancestor, Some(cgroup)) => cgroup,
            (Scope::Node, _) => self.node.path(),
            _ => return,
        };
        let (read, mut whole) = self.snapshots.read_holders(top, deadline);
        let mut holders: Vec<Holder> = read.into_iter().map(Holder::from).collect();
        for own in incident.holders.drain(..) {
            incident::merge_victim_holder(&mut holders, own);
        }
        let procfs = self.procfs.as_ref();
        if let Some(procfs) = procfs.filter(|_| incident.scope == Scope::Node) {
            let victims: Vec<u32> = incident.victims.iter().map(|victim| victim.pid).collect();
            let (largest, all) = procfs.find_largest(&victims, self.host.page_size, deadline);
            whole &= all;
            if let Some((process, cgroup)) = largest {
                incident::add_process(&mut holders, process, cgroup);
            }
        }
        if !whole {
            let reason = "not all cgroups and processes were looked at in time";
            incident.note("holders", reason);
        }
        let holders = incident::rank_holders(holders, incident.limit_bytes.unwrap_or(0));
        incident.holders = holders
            .into_iter()
            .map(|mut holder| {
                identify_holder(&mut holder, &self.node);
                if holder.container.is_none() && holder.pod.is_some() {
                    holder.container = self.largest_container(&holder.cgroup, deadline);
                }
                holder
            })
            .collect();
    }

    /// The container that holds most of a pod.
    fn largest_container(&self, pod: &str, deadline: Instant) -> Option<Container> {
        let children = self.snapshots.read_children(pod, deadline)?;
        let largest = children.into_iter().max_by_key(|child| child.usage_bytes)?;
        owner_by_path(self.node.identify_path(&largest.cgroup)).0
    }

    /// Whether the kill is another node's on the same kernel: all victims were outside of this node's cgroups,
    /// and no runtime of this node knows their containers.
    pub(crate) fn is_elsewhere(&self, incident: &Incident) -> bool {
        let is_elsewhere = |victim: &Victim| {
            let path = victim.cgroup.as_deref();
            let container = victim.container.as_ref();
            path.is_some_and(|path| self.node.path_on_node(path).is_none())
                && container.is_none_or(|container| self.names.get(&container.id).is_none())
        };
        !incident.victims.is_empty() && incident.victims.iter().all(is_elsewhere)
    }

    fn determine_limit(&self, kill: &Kill) -> Incident {
        let (killed, page_size) = (kill.victims.as_slice(), self.host.page_size);
        let deadline = Instant::now() + SNAPSHOT;
        let mut incident = self.find_limit_hit(kill, deadline);
        if let Some(cgroup) = &incident.limit_cgroup {
            // Relative to the node's root: the node's own container does not count.
            let victim = incident::victim_path(killed);
            let seen = self.node.path_on_node(cgroup);
            incident.scope = seen.map_or(Scope::Ancestor, |cgroup| {
                incident::classify_scope(
                    cgroup,
                    victim.and_then(|path| self.node.path_on_node(path)),
                )
            });
        }
        if self.has_waited(kill.stamp_ns) {
            incident::choose_setting(&mut incident, killed, None, page_size);
            return incident;
        }
        incident::detect_swap_limit(&mut incident, killed, page_size, |cgroup| {
            self.snapshots.read_swap_counter(cgroup, deadline)
        });
        let outside = kill.trigger.as_ref().is_some_and(|trigger| {
            let is_victim = killed
                .iter()
                .any(|killed| killed.process.pid == trigger.pid);
            let cgroup = self.procfs.as_ref().filter(|_| !is_victim);
            let cgroup = cgroup.and_then(|procfs| procfs.read_cgroup(trigger.pid));
            cgroup.is_some_and(|cgroup| !incident.limit_holds(&cgroup))
        });
        incident::detect_lowered_limit(&mut incident, killed, outside);
        let is_pod = incident.scope == Scope::Pod;
        let pod = incident.limit_cgroup.as_deref().filter(|_| is_pod);
        let children = pod.and_then(|pod| self.snapshots.read_children(pod, deadline));
        let children = children.map(|all| all.into_iter().map(Holder::from).collect());
        incident::choose_setting(&mut incident, killed, children, page_size);
        incident
    }

    /// An incident with the limit that was hit, as far as it is known.
    fn find_limit_hit(&self, kill: &Kill, deadline: Instant) -> Incident {
        let (killed, page_size) = (kill.victims.as_slice(), self.host.page_size);
        if let Some(control) = &kill.control {
            return incident::limit_from_control(control, incident::victim_path(killed), page_size);
        }
        let read = killed
            .iter()
            .max_by_key(|killed| (!killed.levels.is_empty(), killed.process.cgroup.is_some()));
        let path = read.and_then(|killed| killed.process.cgroup.as_deref());
        let levels = read.map_or(&[][..], |killed| &killed.levels);
        let now_ns = clock::monotonic_ns();
        let read_hits = |path| {
            self.snapshots
                .read_limit_hits(path, kill.stamp_ns, now_ns, deadline)
        };
        match path.and_then(|path| Some((path, read_hits(path)?))) {
            Some((path, rose)) => incident::limit_from_counters(path, &rose, levels, page_size),
            None => incident::infer_limit(path, levels, page_size),
        }
    }

    /// The history of the cgroup whose setting it is, else of the one whose limit was hit, else of the victim's
    /// or its nearest sampled ancestor. Takes a short lock, and some 20 µs of sums.
    fn find_history(
        &self,
        incident: &Incident,
        memory: &[Memory],
        stamp_ns: u64,
    ) -> Option<History> {
        if self.has_waited(stamp_ns) {
            return None;
        }
        let setting = incident.setting.as_ref();
        let of_setting = setting.map(|it| (it.cgroup.as_str(), Some(it.limit_bytes)));
        let limit_cgroup = incident.limit_cgroup.as_deref();
        let of_limit = limit_cgroup.map(|path| (path, incident.limit_bytes));
        let victims = memory.last().and_then(|memory| memory.cgroup.as_deref());
        let above = successors(victims, |path| {
            let (parent, _) = path.rsplit_once('/')?;
            (!parent.is_empty()).then_some(parent)
        });
        let above = above.map(|path| (path, None));
        let all = of_setting.into_iter().chain(of_limit).chain(above);
        all.into_iter().find_map(|(cgroup, bytes)| {
            let at_kill = memory
                .iter()
                .find(|memory| memory.cgroup.as_deref() == Some(cgroup))
                .and_then(|memory| memory.usage_bytes);
            self.recorder
                .history(cgroup, stamp_ns, at_kill.or(bytes), bytes)
        })
    }

    /// Reads from /proc what the autopsy lacks.
    fn read_process(&self, killed: &mut KernelVictim) {
        let waited = self.has_waited(killed.stamp_ns);
        match (&self.procfs, killed.reading) {
            (_, Reading::Autopsied | Reading::Counted) => {}
            (Some(_), _) if waited => killed.missing.push(
                "not read from /proc: the kill waited for the agent to be started again".to_owned(),
            ),
            (Some(procfs), _) => procfs.fill(killed, clock::to_boot_ns(killed.stamp_ns)),
            (None, _) => {
                let reason = "not read from /proc: it is not the host's here";
                killed.missing.push(reason.to_owned());
            }
        }
        killed.note_missing_fields();
    }
}

/// Names the trigger after the agent where it was the agent: the kernel has a thread's name.
fn rename_own_thread(trigger: &mut Option<Trigger>, own_pid: Option<u32>) {
    let own = trigger
        .as_mut()
        .filter(|trigger| Some(trigger.pid) == own_pid);
    if let Some(trigger) = own {
        env!("CARGO_PKG_NAME").clone_into(&mut trigger.comm);
    }
}

/// Adds the container and pod of the cgroup. Returns the outcome and the degraded fields, too.
fn enrich_victim(killed: KernelVictim, node: &NodeRoot) -> (Victim, Outcome, Vec<String>) {
    let first = incident::is_first_process(&killed);
    let mut degraded = killed.degraded;
    let mut victim = Victim {
        process: killed.process,
        ..Victim::default()
    };
    let owner = victim.cgroup.as_deref();
    let owner = owner.map(|path| owner_by_path(node.identify_path(path)));
    (victim.container, victim.pod) = owner.unwrap_or_default();
    let in_container = victim.container.is_some();
    victim.first_process = first.ok().filter(|_| in_container);
    let outcome = match first {
        _ if killed.exiting => Outcome::AlreadyExiting,
        _ if !in_container => Outcome::Unknown,
        Ok(true) => Outcome::ContainerDied,
        Ok(false) => Outcome::ChildDied,
        Err(reason) => {
            degraded.push(format!("outcome: {reason}"));
            Outcome::Unknown
        }
    };
    (victim, outcome, degraded)
}

fn identify_holder(holder: &mut Holder, node: &NodeRoot) {
    (holder.container, holder.pod) = owner_by_path(node.identify_path(&holder.cgroup));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_the_agent_is_named_after_the_agent() {
        let trigger = |comm: &str| {
            Some(Trigger {
                pid: 7,
                comm: comm.to_owned(),
            })
        };
        for (own_pid, comm) in [(Some(7), "oom-agent"), (Some(8), "ring"), (None, "ring")] {
            let mut found = trigger("ring");
            rename_own_thread(&mut found, own_pid);
            assert_eq!(found, trigger(comm));
        }
    }
}
