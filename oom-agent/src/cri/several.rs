//! Several runtimes on one node: each is asked, and the one that knows a container has the word.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::{Cri, CriError, Identity, Sandbox};
use crate::status_check::Status;

/// All runtimes of a node.
#[derive(Clone)]
pub struct Several(pub Vec<Cri>);

// === impl Several ===

impl Several {
    /// What the first that knows it says of a container; as [`Cri::container`]. `None` without any runtime.
    pub async fn container(
        &self,
        id: &str,
        patience: Duration,
    ) -> Option<Result<Identity, CriError>> {
        first_known(self.0.iter().map(|cri| cri.container(id, patience))).await
    }

    /// As [`Cri::sandbox`].
    pub async fn sandbox(&self, uid: &str) -> Option<Result<Sandbox, CriError>> {
        first_known(self.0.iter().map(|cri| cri.sandbox(uid))).await
    }

    /// As [`Cri::statuses`]: of each runtime those that it knows.
    pub async fn statuses(
        &self,
        pod_uid: Option<&str>,
        ids: &[String],
    ) -> Option<Result<Vec<Status>, CriError>> {
        let asked = self.0.iter().map(|cri| cri.statuses(pod_uid, ids.to_vec()));
        collect_known(futures::future::join_all(asked).await)
    }

    /// As [`Cri::running`], of all: what one runtime leaves out would be taken for ended.
    pub async fn running(&self) -> Option<Result<Vec<Identity>, CriError>> {
        let answers = futures::future::join_all(self.0.iter().map(Cri::running)).await;
        let all: Result<Vec<Vec<Identity>>, CriError> = answers.into_iter().collect();
        (!self.0.is_empty()).then(|| all.map(|all| all.concat()))
    }
}

/// The first that knows; else one that did not answer, since it might have known; else one that does not.
async fn first_known<T>(
    asked: impl Iterator<Item = impl Future<Output = Result<T, CriError>>>,
) -> Option<Result<T, CriError>> {
    let mut asked: FuturesUnordered<_> = asked.collect();
    let mut worst = None;
    while let Some(answer) = asked.next().await {
        match (answer, &worst) {
            (Ok(known), _) => return Some(Ok(known)),
            (Err(CriError::NotFound { .. }), Some(_)) => {}
            (Err(error), _) => worst = Some(error),
        }
    }
    worst.map(Err)
}

/// All that is known; an error where nobody knows any, and somebody could not tell.
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
