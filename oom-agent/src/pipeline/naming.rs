//! Gives an incident's containers and pods their names: as the runtimes have told them before the kill, else
//! by asking now.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use memcg::cgroup;
use service::escape;
use tokio::time::timeout;

use super::names::Names;
use super::resolve::Resolver;
use crate::cri;
use crate::incident::{Container, Incident, Pod};
use crate::sinks;

/// The longest reason in `degraded`, in bytes: parts of it are the runtime's own words.
const REASON_LEN: usize = 512;

/// Containers of one incident that are asked for at once: a cgroup that dies as one has few.
const AT_ONCE: usize = 32;

/// Names for who can wait longer than the incident could.
pub(super) struct Later(pub(super) Arc<Names>);

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
    /// Whether a container runtime may have something to say of it.
    pub(super) fn has_container(incident: &Incident) -> bool {
        let victims = incident.victims.iter().map(|victim| &victim.container);
        let holders = incident.holders.iter().map(|holder| &holder.container);
        let mut containers = victims.chain(holders).flatten();
        containers.any(is_a_runtimes)
    }

    /// Adds what the runtimes have said before it was killed. False: one has to be asked.
    pub(super) fn name_known(&self, incident: &mut Incident) -> bool {
        let mut is_whole = true;
        for (_, container, pod) in places(incident) {
            let id = container
                .as_ref()
                .filter(|container| is_a_runtimes(container));
            match id.map(|container| self.names.get(&container.id)) {
                Some(Some(found)) => name(container, pod, &found),
                Some(None) => is_whole = false,
                None => {}
            }
        }
        is_whole
    }

    /// Asks the runtimes for what they have not said before: all at once, so that the incident waits for
    /// one answer. Never fails, as [`resolve`](Self::resolve) does not.
    pub(super) async fn name(&self, mut incident: Incident) -> Incident {
        let containers = places(&mut incident).filter_map(|(_, container, _)| container.as_ref());
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
        let (mut found, mut reasons) = (HashMap::new(), HashMap::new());
        let all = async {
            while let Some((id, answer)) = answers.next().await {
                match answer {
                    Ok(identity) => {
                        self.names.learn(identity.clone());
                        found.insert(id, identity);
                    }
                    Err(unknown) => {
                        reasons.insert(id, unknown.reason);
                    }
                }
            }
        };
        // Each has that long; however many there are, and while runtimes are looked for, no more.
        let _late = timeout(cri::PATIENCE.saturating_mul(2), all).await;
        for id in unknown.iter().filter(|id| !found.contains_key(*id)) {
            let reason = reasons
                .entry(id.clone())
                .or_insert_with(|| "no container runtime answered in time".to_owned());
            *reason = escape::truncate(reason, REASON_LEN).to_owned();
            tracing::warn!(container = id, error = reason, "the container goes unnamed");
            self.names.want(id);
        }
        let mut degraded = Vec::new();
        for (place, container, pod) in places(&mut incident) {
            let Some(id) = container.as_ref().map(|container| container.id.as_str()) else {
                continue;
            };
            let found = found.get(id).cloned().or_else(|| self.names.get(id));
            if let Some(found) = found {
                name(container, pod, &found);
            } else if let Some(reason) = reasons.get(id) {
                let fields = ["container.name", "pod"];
                degraded.extend(fields.map(|field| format!("{place}.{field}: {reason}")));
            }
        }
        incident.degraded.append(&mut degraded);
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
}

/// Whether a runtime can be asked for it by its id.
fn is_a_runtimes(container: &Container) -> bool {
    !container
        .runtime
        .as_deref()
        .is_some_and(cgroup::is_machine_runtime)
}

/// Each container and pod that an incident names, and in which field.
fn places(
    incident: &mut Incident,
) -> impl Iterator<Item = (String, &mut Option<Container>, &mut Option<Pod>)> {
    let victims = incident.victims.iter_mut().enumerate();
    let victims = victims.map(|(n, victim)| {
        let place = format!("victims[{n}]");
        (place, &mut victim.container, &mut victim.pod)
    });
    let holders = incident.holders.iter_mut().enumerate();
    victims.chain(holders.map(|(n, holder)| {
        let place = format!("holders[{n}]");
        (place, &mut holder.container, &mut holder.pod)
    }))
}

fn name(container: &mut Option<Container>, pod: &mut Option<Pod>, found: &cri::Identity) {
    *container = Some(found.container.clone());
    if found.pod.is_some() {
        pod.clone_from(&found.pod);
    }
}
