//! A found kill becomes an incident: its container, its pod, its moment.

use jiff::Timestamp;

use crate::cgroup;
use crate::clock;
use crate::cri::Cri;
use crate::error_chain::chain;
use crate::host::Host;
use crate::incident::{Container, Found, Incident, Outcome, Pod, Scope, VERSION, Victim};
use crate::procfs::Procfs;

pub(super) struct Resolver {
    host: Host,
    /// `None` where /proc is another PID namespace's.
    procfs: Option<Procfs>,
    cri: Option<Cri>,
}

// === impl Resolver ===

impl Resolver {
    pub(super) fn new(host: Host, cri: Option<Cri>) -> Self {
        Self {
            host,
            procfs: Procfs::of_host(),
            cri,
        }
    }

    /// Never fails: what cannot be found out is said in `degraded`.
    pub(super) async fn resolve(&self, found: Found) -> Incident {
        let Found {
            stamp_ns,
            trigger,
            mut victim,
            autopsied,
            mut degraded,
        } = found;
        let marked = victim.pid;
        match &self.procfs {
            _ if autopsied => {}
            Some(procfs) => procfs.fill(&mut victim, &mut degraded),
            None => degraded.push("victims: /proc is not the host's here".to_owned()),
        }
        let identity = victim
            .cgroup
            .as_deref()
            .map(cgroup::parse)
            .unwrap_or_default();
        victim.container = identity.container_id.clone().map(|id| Container {
            id,
            name: None,
            runtime: identity.runtime.map(|runtime| runtime.as_str().to_owned()),
        });
        victim.pod = identity.pod_uid.map(|uid| Pod {
            uid: Some(uid),
            ..Pod::default()
        });
        if let Some(id) = identity.container_id {
            self.ask_runtime(&id, &mut victim, &mut degraded).await;
        }
        let outcome = outcome(&victim, &mut degraded);
        degraded.push("scope: not determined by this version".to_owned());
        degraded.push("limit_bytes: not determined by this version".to_owned());
        Incident {
            version: VERSION,
            id: format!("{}-{stamp_ns}-{marked}", self.host.boot),
            time: clock::wall(stamp_ns, clock::monotonic_ns(), Timestamp::now()),
            node: self.host.node.clone(),
            scope: Scope::Unknown,
            limit_bytes: None,
            outcome,
            trigger,
            victims: vec![victim],
            degraded,
            stamp_ns,
        }
    }

    async fn ask_runtime(&self, id: &str, victim: &mut Victim, degraded: &mut Vec<String>) {
        let Some(cri) = &self.cri else {
            degraded.push("container.name: no container runtime was found".to_owned());
            degraded.push("pod: no container runtime was found".to_owned());
            return;
        };
        match cri.container(id).await {
            Ok(found) => {
                victim.container = Some(found.container);
                if found.pod.is_some() {
                    victim.pod = found.pod;
                }
            }
            Err(error) => {
                let reason = chain(&error).to_string();
                tracing::warn!(container = id, error = reason, "the container goes unnamed");
                degraded.push(format!("container.name: {reason}"));
                degraded.push(format!("pod: {reason}"));
            }
        }
    }
}

/// PID 1 of a PID namespace takes its container along.
fn outcome(victim: &Victim, degraded: &mut Vec<String>) -> Outcome {
    if victim.container.is_none() {
        return Outcome::Unknown;
    }
    match victim.namespace_pid {
        Some((1.., 1)) => Outcome::ContainerDied,
        Some((1.., _)) => Outcome::ChildDied,
        Some((0, _)) => {
            degraded.push("outcome: the container shares the host's PID namespace".to_owned());
            Outcome::Unknown
        }
        None => Outcome::Unknown,
    }
}
