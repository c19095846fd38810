//! What the runtime says of a pod as a whole.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::cri::{ListPodSandboxRequest, PodSandboxFilter};

use super::{Cri, CriError, MESSAGE_LEN, NAME_LEN, POD_UID};
use crate::escape;
use crate::incident::Pod;

/// No incident waits for it, and a node that is short of memory has a slow runtime.
const SANDBOX: Duration = Duration::from_secs(3);

/// A pod as it was when its sandbox was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Whose.
    pub pod: Pod,
    /// The pod's annotations, which the kubelet hands over; not what they were changed to since.
    pub annotations: BTreeMap<String, String>,
}

// === impl Cri ===

impl Cri {
    /// The sandbox of the pod that the node calls `uid`; of several the newest.
    pub async fn sandbox(&self, uid: &str) -> Result<Sandbox, CriError> {
        self.within(SANDBOX, self.newest_sandbox(uid)).await
    }

    async fn newest_sandbox(&self, uid: &str) -> Result<Sandbox, CriError> {
        let mut client = self.client.clone().max_decoding_message_size(MESSAGE_LEN);
        let request = ListPodSandboxRequest {
            filter: Some(PodSandboxFilter {
                label_selector: [(POD_UID.to_owned(), uid.to_owned())].into(),
                ..PodSandboxFilter::default()
            }),
        };
        let listed = client.list_pod_sandbox(request).await;
        let listed = listed.map_err(|status| self.failed("ListPodSandbox", &status))?;
        let newest = listed
            .into_inner()
            .items
            .into_iter()
            .max_by_key(|sandbox| sandbox.created_at);
        let found = newest.ok_or_else(|| CriError::NotFound {
            socket: self.socket.clone(),
        })?;
        let metadata = found.metadata.unwrap_or_default();
        let named = |text: String| {
            let text = escape::truncate(&text, NAME_LEN).to_owned();
            Some(text).filter(|text| !text.is_empty())
        };
        Ok(Sandbox {
            pod: Pod {
                namespace: named(metadata.namespace),
                name: named(metadata.name),
                uid: Some(uid.to_owned()),
            },
            annotations: found.annotations.into_iter().collect(),
        })
    }
}
