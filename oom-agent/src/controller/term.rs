//! One term of leadership: reads pods and reports their kills.

use std::collections::VecDeque;
use std::pin::pin;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::follow::{self, PodEvent};
use super::health::CurrentFailure;
use super::kills::SeenKills;
use super::reporter::Reporter;
use crate::k8s::{Change, Cluster, StatusKill};

/// Pods between the API server and the decision.
const QUEUE: usize = 64;

/// Kills that wait for the agents' reports; more make the API server wait.
const WAITING: usize = 1024;

/// Runs until dropped. The next leader finds again the kills that wait then.
pub(super) async fn run(
    cluster: &Cluster,
    reporter: &mut Reporter,
    since: Timestamp,
    failure: &CurrentFailure,
) {
    let (sender, mut events) = mpsc::channel(QUEUE);
    let mut follower = pin!(follow::run(cluster, sender, failure));
    let mut kills = SeenKills::new(since);
    let mut waiting: VecDeque<(Instant, StatusKill)> = VecDeque::new();
    loop {
        let due = waiting.front().map(|(due, _)| *due);
        tokio::select! {
            () = &mut follower => return,
            Some(event) = events.recv(), if waiting.len() < WAITING => {
                let due = Instant::now() + reporter.grace;
                let new = find_new_kills(&mut kills, event, reporter);
                waiting.extend(new.into_iter().map(|kill| (due, kill)));
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && reporter.has_room() => {
                if let Some((_, kill)) = waiting.pop_front() {
                    reporter.report(kill);
                }
            }
            () = reporter.wait_for_room(), if !reporter.has_room() => {}
        }
    }
}

fn find_new_kills(seen: &mut SeenKills, event: PodEvent, reporter: &Reporter) -> Vec<StatusKill> {
    let count = |update| {
        reporter.counter(update).inc();
    };
    let kills = match event {
        PodEvent::ListStarted => {
            seen.start_list();
            Vec::new()
        }
        PodEvent::ListFinished => {
            tracing::info!("all pods are seen");
            seen.finish_list();
            Vec::new()
        }
        PodEvent::Changed(Change::Applied(pod)) => seen.scan(&pod, count),
        PodEvent::Changed(Change::Deleted(pod)) => {
            let kills = seen.scan(&pod, count);
            seen.forget(&pod.metadata.uid);
            kills
        }
        PodEvent::Changed(Change::Bookmark) => Vec::new(),
    };
    for kill in &kills {
        tracing::debug!(
            namespace = kill.namespace,
            pod = kill.pod,
            container = kill.container,
            finished_at = %kill.finished_at,
            "a container was OOMKilled"
        );
    }
    kills
}
