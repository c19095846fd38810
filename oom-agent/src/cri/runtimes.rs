//! Several runtimes on one node: all get each request, and the one that knows the container decides.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::{ContainerInfo, Cri, CriError, Sandbox};
use crate::status_check::Status;

#[derive(Clone)]
pub(crate) struct RuntimeSet(pub Vec<Cri>);

// === impl RuntimeSet ===

impl RuntimeSet {
    /// [`Cri::find_container`] on the first that knows it. `None` without any runtime.
    pub(crate) async fn find_container(
        &self,
        id: &str,
        limit: Duration,
    ) -> Option<Result<ContainerInfo, CriError>> {
        first_known(self.0.iter().map(|cri| cri.find_container(id, limit))).await
    }

    /// [`Cri::find_sandbox`] on the first that knows it.
    pub(crate) async fn find_sandbox(&self, uid: &str) -> Option<Result<Sandbox, CriError>> {
        first_known(self.0.iter().map(|cri| cri.find_sandbox(uid))).await
    }

    /// [`Cri::read_statuses`] of all runtimes.
    pub(crate) async fn read_statuses(
        &self,
        pod_uid: Option<&str>,
        ids: &[String],
    ) -> Option<Result<Vec<Status>, CriError>> {
        let calls = self
            .0
            .iter()
            .map(|cri| cri.read_statuses(pod_uid, ids.to_vec()));
        collect_known(futures::future::join_all(calls).await)
    }

    /// [`Cri::list_running`] of all: an error of one, as its containers would otherwise count as ended.
    pub(crate) async fn list_running(&self) -> Option<Result<Vec<ContainerInfo>, CriError>> {
        let answers = futures::future::join_all(self.0.iter().map(Cri::list_running)).await;
        let all: Result<Vec<Vec<ContainerInfo>>, CriError> = answers.into_iter().collect();
        (!self.0.is_empty()).then(|| all.map(|all| all.concat()))
    }
}

/// The first success; else the error of one that did not answer, as it might have known; else `NotFound`.
async fn first_known<T>(
    calls: impl Iterator<Item = impl Future<Output = Result<T, CriError>>>,
) -> Option<Result<T, CriError>> {
    let mut calls: FuturesUnordered<_> = calls.collect();
    let mut worst = None;
    while let Some(answer) = calls.next().await {
        match (answer, &worst) {
            (Ok(known), _) => return Some(Ok(known)),
            (Err(CriError::NotFound { .. }), Some(_)) => {}
            (Err(error), _) => worst = Some(error),
        }
    }
    worst.map(Err)
}

/// All that is known; an error where nothing is known and a call failed.
fn collect_known<T>(answers: Vec<Result<Vec<T>, CriError>>) -> Option<Result<Vec<T>, CriError>> {
    let (mut known, mut failed, mut answered) = (Vec::new(), None, false);
    for answer in answers {
        match answer {
            Ok(more) => {
                answered = true;
                known.extend(more);
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if known.is_empty() => Some(Err(error)),
        _ => answered.then_some(Ok(known)),
    }
}
