//! Adds the names of an incident's containers and pods: those read before the kill, else by a query to the
//! runtimes.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use memcg::cgroup::{self, PathIdentity};
use service::escape;
use tokio::time::timeout;

use super::enricher::Enricher;
use super::owner::owner_by_path;
use crate::cri;
use crate::incident::{Container, Incident, Pod};

/// The longest reason in `degraded`, in bytes: parts of it come from the runtime.
const REASON_LEN: usize = 512;

/// Parallel queries for one incident: a group that is killed as one has few containers.
const AT_ONCE: usize = 32;

/// Longer than one query to a runtime may take.
const OWNER_TIMEOUT: Duration = Duration::from_secs(4);

// === impl Enricher ===

impl Enricher {
    /// Whether a container runtime may know one of its containers.
    pub(crate) fn has_container(incident: &Incident) -> bool {
        let victims = incident.victims.iter().map(|victim| &victim.container);
        let holders = incident.holders.iter().map(|holder| &holder.container);
        let mut containers = victims.chain(holders).flatten();
        containers.any(has_runtime_id)
    }

    /// Adds the names that are known already. False: a runtime has to be queried.
    pub(crate) fn add_known_names(&self, incident: &mut Incident) -> bool {
        let mut is_complete = true;
        for (_, container, pod) in owners_mut(incident) {
            let id = container
                .as_ref()
                .filter(|container| has_runtime_id(container));
            match id.map(|container| self.names.get(&container.id)) {
                Some(Some(found)) => set_names(container, pod, &found),
                Some(None) => is_complete = false,
                None => {}
            }
        }
        is_complete
    }

    /// Queries the runtimes for the missing names: all at once, so that the incident waits for one answer.
    /// Never fails, as [`enrich`](Self::enrich) does not.
    pub(crate) async fn add_names(&self, mut incident: Incident) -> Incident {
        let containers =
            owners_mut(&mut incident).filter_map(|(_, container, _)| container.as_ref());
        let unknown: BTreeSet<String> = containers
            .filter(|it| has_runtime_id(it) && self.names.get(&it.id).is_none())
            .map(|it| it.id.clone())
            .collect();
        let query = async |id: String| {
            let answer = self.runtimes.find_container(&id, cri::CALL_TIMEOUT).await;
            (id, answer.map_err(|error| error.to_string()))
        };
        let queries = stream::iter(unknown.clone()).map(query);
        let mut queries = queries.buffer_unordered(AT_ONCE);
        let mut answers = HashMap::new();
        let all = async {
            while let Some((id, answer)) = queries.next().await {
                answers.insert(id, answer);
            }
        };
        // One patience for the queries, however many, and one for discovering the runtimes.
        let _late = timeout(cri::CALL_TIMEOUT.saturating_mul(2), all).await;
        for id in unknown {
            let late = || Err("no container runtime answered in time".to_owned());
            match answers.entry(id.clone()).or_insert_with(late) {
                Ok(found) => self.names.insert(found.clone()),
                Err(reason) => {
                    *reason = escape::truncate(reason, REASON_LEN).to_owned();
                    tracing::warn!(container = id, error = reason, "the container goes unnamed");
                    self.names.request(&id);
                }
            }
        }
        let mut degraded = Vec::new();
        for (place, container, pod) in owners_mut(&mut incident) {
            let Some(id) = container.as_ref().map(|container| container.id.as_str()) else {
                continue;
            };
            let answer = answers.get(id);
            let found = answer.and_then(|answer| answer.clone().ok());
            if let Some(found) = found.or_else(|| self.names.get(id)) {
                set_names(container, pod, &found);
            } else if let Some(Err(reason)) = answer {
                let fields = ["container.name", "pod"];
                degraded.extend(fields.map(|field| format!("{place}.{field}: {reason}")));
            }
        }
        incident.degraded.append(&mut degraded);
        incident
    }

    /// The container and the pod of a cgroup. Without a runtime's answer in time they come from the path.
    pub(crate) async fn find_owner(
        &self,
        identity: PathIdentity,
    ) -> (Option<Container>, Option<Pod>) {
        let answer = timeout(OWNER_TIMEOUT, self.query_owner(&identity)).await;
        let (container, pod) = answer.ok().flatten().unwrap_or_default();
        let by_path = owner_by_path(identity);
        (container.or(by_path.0), pod.or(by_path.1))
    }

    async fn query_owner(
        &self,
        identity: &PathIdentity,
    ) -> Option<(Option<Container>, Option<Pod>)> {
        if let Some(id) = &identity.container_id {
            let found = if let Some(found) = self.names.get(id) {
                found
            } else {
                let answer = self.runtimes.find_container(id, cri::CALL_TIMEOUT);
                answer.await.ok()?
            };
            return Some((Some(found.container), found.pod));
        }
        let uid = identity.pod_uid.as_ref()?;
        let sandbox = self.runtimes.find().await.find_sandbox(uid).await?;
        Some((None, Some(sandbox.ok()?.pod)))
    }
}

/// Whether a runtime can be queried for its id.
fn has_runtime_id(container: &Container) -> bool {
    !container
        .runtime
        .as_deref()
        .is_some_and(cgroup::is_machine_runtime)
}

/// Each container and pod of an incident, with its field.
fn owners_mut(
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

fn set_names(container: &mut Option<Container>, pod: &mut Option<Pod>, found: &cri::ContainerInfo) {
    *container = Some(found.container.clone());
    if found.pod.is_some() {
        pod.clone_from(&found.pod);
    }
}
