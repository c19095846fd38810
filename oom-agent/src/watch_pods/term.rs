//! While this controller leads: from what is seen of pods to what is told.

use std::collections::VecDeque;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::counts::UpdateType;
use super::follow::{self, Seen};
use super::health::Trouble;
use super::kills::{Kill, Kills, Taken};
use super::reporter::Reporter;
use crate::k8s::Cluster;

/// Pods between the API server and the decision.
const QUEUE: usize = 64;

/// Kills that are left to the agents of their nodes for a while; more make the API server wait.
const WAITING: usize = 1024;

/// Until it is dropped. What waits then is found again by whoever leads next.
pub(super) async fn run(
    cluster: &Cluster,
    reporter: &mut Reporter,
    since: Timestamp,
    trouble: &Trouble,
) {
    let (sender, mut seen) = mpsc::channel(QUEUE);
    let _follower = AbortOnDrop(tokio::spawn(follow::run(
        cluster.clone(),
        sender,
        trouble.clone(),
    )));
    let mut kills = Kills::new(since);
    let mut waiting: VecDeque<(Instant, Kill)> = VecDeque::new();
    loop {
        let due = waiting.front().map(|(due, _)| *due);
        tokio::select! {
            seen = seen.recv(), if waiting.len() < WAITING => {
                let Some(seen) = seen else { return };
                let due = Instant::now() + reporter.grace;
                let new = take(&mut kills, seen, reporter);
                waiting.extend(new.into_iter().map(|kill| (due, kill)));
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && reporter.has_room() => {
                if let Some((_, kill)) = waiting.pop_front() {
                    reporter.tell(kill);
                }
            }
            () = reporter.room(), if !reporter.has_room() => {}
        }
    }
}

fn take(kills: &mut Kills, seen: Seen, reporter: &Reporter) -> Vec<Kill> {
    let taken = match seen {
        Seen::Listing => {
            kills.listing();
            Taken::default()
        }
        Seen::Listed => {
            tracing::info!("all pods are seen");
            kills.listed();
            Taken::default()
        }
        Seen::Pod(pod) => kills.take(&pod),
        Seen::Gone(pod) => {
            let taken = kills.take(&pod);
            kills.forget(&pod.uid);
            taken
        }
    };
    let counts = reporter.counts();
    counts.add(UpdateType::NotOomKilled, taken.not_oom_killed);
    counts.add(UpdateType::TooOld, taken.too_old);
    counts.add(UpdateType::SeenBefore, taken.repeated);
    for kill in &taken.kills {
        tracing::debug!(
            namespace = kill.namespace,
            pod = kill.pod,
            container = kill.container,
            finished_at = %kill.finished_at,
            "a container was OOMKilled"
        );
    }
    taken.kills
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
