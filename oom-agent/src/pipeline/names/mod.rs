//! The names of containers, asked for when their cgroups appear: a kill needs no answer then.

mod table;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memcg::cgroup;
use service::error_chain::chain;
use tokio::sync::Notify;

use super::discover::Runtimes;
use crate::cri::Identity;
use crate::metrics::NameCounts;
use crate::sinks::Backoff;
use table::Table;

/// Nothing waits for these answers, and a node that is short of memory has a slow runtime.
const PATIENCE: Duration = Duration::from_secs(10);

/// Containers that are asked for at once, each by itself; of more at one moment, all are listed.
const AT_ONCE: usize = 8;

/// Attempts at the first list of all.
const ATTEMPTS: u32 = 8;

/// What the runtimes have said of containers.
pub(super) struct Names {
    table: Mutex<Table>,
    changed: Notify,
    counts: NameCounts,
}

// === impl Names ===

impl Names {
    pub(super) fn new(counts: NameCounts) -> Self {
        Self {
            table: Mutex::default(),
            changed: Notify::new(),
            counts,
        }
    }

    /// What was said of a container; asks nobody.
    pub(super) fn get(&self, id: &str) -> Option<Identity> {
        self.lock().get(id).cloned()
    }

    /// Has the runtimes asked for a container in which there was a kill, until one answers.
    pub(super) fn want(&self, id: &str) {
        self.change(|table| table.want(id, Instant::now()));
    }

    /// A runtime has told of a container.
    pub(super) fn learn(&self, found: Identity) {
        self.change(|table| table.learn(found));
    }

    /// A container's cgroup is there, or is gone.
    pub(super) fn notice(&self, path: &str, is_there: bool) {
        let identity = cgroup::parse_path(path);
        if identity.is_machine() {
            return;
        }
        let Some(id) = identity.container_id else {
            return;
        };
        self.change(|table| {
            if is_there {
                table.appeared(&id, Instant::now());
            } else {
                table.disappeared(&id);
            }
        });
    }

    /// Asks the runtimes, in the background, until it is dropped.
    pub(super) async fn ask(self: Arc<Self>, runtimes: Arc<Runtimes>) {
        let mut first = Some((Instant::now(), Backoff::default()));
        loop {
            if let Some((due, backoff)) = &mut first
                && *due <= Instant::now()
            {
                let is_listed = self.list(&runtimes).await;
                *due = Instant::now() + backoff.next(fastrand::f64());
                if is_listed || backoff.attempts() >= ATTEMPTS {
                    first = None;
                }
            }
            // One that has come since may know them.
            runtimes.find().await;
            let due = self.lock().due(Instant::now());
            if due.len() > AT_ONCE {
                let is_whole = self.list(&runtimes).await;
                let left = self.lock().due(Instant::now());
                for id in left {
                    self.fail(&id, is_whole);
                }
            } else {
                let asked = due.iter().map(|id| self.ask_for(id, &runtimes));
                futures::future::join_all(asked).await;
            }
            let next = self.lock().next();
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

    async fn ask_for(&self, id: &str, runtimes: &Runtimes) {
        match runtimes.container(id, PATIENCE).await {
            Ok(found) => {
                self.counts.answered.inc();
                self.learn(found);
            }
            Err(unknown) => {
                tracing::debug!(container = id, reason = unknown.reason, "no name yet");
                self.fail(id, unknown.is_everywhere);
            }
        }
    }

    fn fail(&self, id: &str, is_unknown: bool) {
        let count = if is_unknown {
            &self.counts.unknown
        } else {
            &self.counts.failed
        };
        count.inc();
        let (now, chance) = (Instant::now(), fastrand::f64());
        self.change(|table| table.fail(id, is_unknown, now, chance));
    }

    /// Whether every runtime that is there has told of all its containers.
    async fn list(&self, runtimes: &Runtimes) -> bool {
        let all = runtimes.find().await.0;
        let asked = all.iter().map(|cri| cri.all(PATIENCE));
        let mut is_whole = !all.is_empty();
        for answer in futures::future::join_all(asked).await {
            match answer {
                Ok(found) => self.change(|table| {
                    for found in found {
                        table.learn(found);
                    }
                }),
                Err(error) => {
                    is_whole = false;
                    tracing::debug!(error = %chain(&error), "the containers could not be listed");
                }
            }
        }
        is_whole
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        let mut table = self.lock();
        let before = table.dropped;
        let due = table.next();
        change(&mut table);
        self.counts.dropped.inc_by(table.dropped - before);
        self.counts.show(table.known_len(), table.wanted_len());
        if table.next() != due {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
