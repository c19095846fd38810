//! The names of containers, read when their cgroups appear: a kill need not wait for a runtime.

mod table;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use memcg::cgroup;
use parking_lot::Mutex;
use service::error_chain::chain;
use tokio::sync::Notify;

use super::runtimes::Runtimes;
use crate::cri::{ContainerInfo, CriError};
use crate::incident::{Container, Pod};
use crate::metrics::NameCounts;
use service::backoff::Backoff;
use table::Table;

/// Generous: nothing waits for these answers, and a node short of memory has a slow runtime.
const PATIENCE: Duration = Duration::from_secs(10);

/// Parallel queries for single containers; for more at once, all containers are listed.
const AT_ONCE: usize = 8;

/// Attempts at the first list.
const ATTEMPTS: u32 = 8;

/// The containers as the runtimes know them.
pub(crate) struct ContainerNames {
    table: Mutex<Table>,
    changed: Notify,
    counts: NameCounts,
}

// === impl ContainerNames ===

impl ContainerNames {
    pub(crate) fn new(counts: NameCounts) -> Self {
        Self {
            table: Mutex::default(),
            changed: Notify::new(),
            counts,
        }
    }

    /// Queries no runtime.
    pub(crate) fn get(&self, id: &str) -> Option<ContainerInfo> {
        self.table.lock().get(id).cloned()
    }

    /// Has the runtimes queried for a container with a victim, until one answers.
    pub(crate) fn request(&self, id: &str) {
        self.update(|table| table.request(id, Instant::now()));
    }

    /// For an Event, which can wait longer than the incident.
    pub(crate) fn get_or_request(&self, id: &str) -> Option<(Container, Option<Pod>)> {
        let found = self.get(id);
        if found.is_none() {
            self.request(id);
        }
        found.map(|found| (found.container, found.pod))
    }

    pub(crate) fn insert(&self, found: ContainerInfo) {
        self.update(|table| table.insert(found));
    }

    /// A container's cgroup has appeared or disappeared.
    pub(crate) fn note_cgroup(&self, path: &str, exists: bool) {
        let identity = cgroup::parse_path(path);
        if identity.is_machine() {
            return;
        }
        let Some(id) = identity.container_id else {
            return;
        };
        self.update(|table| {
            if exists {
                table.add_cgroup(&id, Instant::now());
            } else {
                table.remove_cgroup(&id);
            }
        });
    }

    /// Queries the runtimes in the background, until it is dropped.
    pub(crate) async fn keep_current(self: Arc<Self>, runtimes: Arc<Runtimes>) {
        let mut first = Some((Instant::now(), Backoff::default()));
        loop {
            if let Some((due, backoff)) = &mut first
                && *due <= Instant::now()
            {
                let is_listed = self.list_all(&runtimes).await;
                *due = Instant::now() + backoff.next_wait(fastrand::f64());
                if is_listed || backoff.attempts() >= ATTEMPTS {
                    first = None;
                }
            }
            // A runtime that has started since may know them.
            runtimes.find().await;
            let due = self.table.lock().due(Instant::now());
            if due.len() > AT_ONCE {
                let is_complete = self.list_all(&runtimes).await;
                let left = self.table.lock().due(Instant::now());
                for id in left {
                    self.count_failure(&id, is_complete);
                }
            } else {
                let queries = due.iter().map(|id| self.query(id, &runtimes));
                futures::future::join_all(queries).await;
            }
            let next = self.table.lock().next_due();
            let next = next.into_iter().chain(first.as_ref().map(|(due, _)| *due));
            let changed = self.changed.notified();
            match next.min() {
                Some(next) => tokio::select! {
                    () = tokio::time::sleep_until(next.into()) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    async fn query(&self, id: &str, runtimes: &Runtimes) {
        match runtimes.find_container(id, PATIENCE).await {
            Ok(found) => {
                self.counts.answered.inc();
                self.insert(found);
            }
            Err(error) => {
                tracing::debug!(container = id, %error, "no name yet");
                self.count_failure(id, matches!(error, CriError::NotFound { .. }));
            }
        }
    }

    fn count_failure(&self, id: &str, is_unknown: bool) {
        let count = if is_unknown {
            &self.counts.unknown
        } else {
            &self.counts.failed
        };
        count.inc();
        let (now, chance) = (Instant::now(), fastrand::f64());
        self.update(|table| table.put_off(id, is_unknown, now, chance));
    }

    /// Whether every runtime has listed its containers.
    async fn list_all(&self, runtimes: &Runtimes) -> bool {
        let all = runtimes.find().await.0;
        let queries = all.iter().map(|cri| cri.list_all(PATIENCE));
        let mut is_complete = !all.is_empty();
        for answer in futures::future::join_all(queries).await {
            match answer {
                Ok(found) => self.update(|table| {
                    for found in found {
                        table.insert(found);
                    }
                }),
                Err(error) => {
                    is_complete = false;
                    tracing::debug!(error = %chain(&error), "cannot list the containers");
                }
            }
        }
        is_complete
    }

    fn update(&self, update: impl FnOnce(&mut Table)) {
        let mut table = self.table.lock();
        let before = table.dropped;
        let due = table.next_due();
        update(&mut table);
        self.counts.dropped.inc_by(table.dropped - before);
        self.counts.set(table.known_len(), table.requested_len());
        if table.next_due() != due {
            self.changed.notify_one();
        }
    }
}
