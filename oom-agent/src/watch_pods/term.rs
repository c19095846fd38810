//! One term of leadership: reads pods and reports their kills.

use std::collections::VecDeque;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::counts::UpdateType;
use super::follow::{self, PodEvent};
use super::health::CurrentFailure;
use super::kills::{Scan, SeenKills};
use super::reporter::Reporter;
use crate::k8s::{Cluster, StatusKill};

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
    // Aborts the task when it is dropped.
    let mut follower = JoinSet::new();
    follower.spawn(follow::run(cluster.clone(), sender, failure.clone()));
    let mut kills = SeenKills::new(since);
    let mut waiting: VecDeque<(Instant, StatusKill)> = VecDeque::new();
    loop {
        let due = waiting.front().map(|(due, _)| *due);
        tokio::select! {
            event = events.recv(), if waiting.len() < WAITING => {
                let Some(event) = event else { return };
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

fn find_new_kills(kills: &mut SeenKills, event: PodEvent, reporter: &Reporter) -> Vec<StatusKill> {
    let scan = match event {
        PodEvent::ListStarted => {
            kills.start_list();
            Scan::default()
        }
        PodEvent::ListFinished => {
            tracing::info!("all pods are seen");
            kills.finish_list();
            Scan::default()
        }
        PodEvent::Updated(pod) => kills.scan(&pod),
        PodEvent::Deleted(pod) => {
            let scan = kills.scan(&pod);
            kills.forget(&pod.metadata.uid);
            scan
        }
    };
    let counts = reporter.counts();
    counts.add(UpdateType::NotOomKilled, scan.not_oom_killed);
    counts.add(UpdateType::TooOld, scan.too_old);
    counts.add(UpdateType::SeenBefore, scan.repeated);
    for kill in &scan.kills {
        tracing::debug!(
            namespace = kill.namespace,
            pod = kill.pod,
            container = kill.container,
            finished_at = %kill.finished_at,
            "a container was OOMKilled"
        );
    }
    scan.kills
}
