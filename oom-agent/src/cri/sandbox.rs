//! What the runtime says of a pod as a whole.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::cri::{ListPodSandboxRequest, PodSandbox, PodSandboxFilter};
use service::escape;

use super::{Cri, CriError, Identity, MESSAGE_LEN, NAME_LEN, POD_UID};
use crate::incident::{Container, Pod};

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
        let filter = PodSandboxFilter {
            label_selector: [(POD_UID.to_owned(), uid.to_owned())].into(),
            ..PodSandboxFilter::default()
        };
        let listed = self.sandboxes(filter, MESSAGE_LEN).await?;
        let newest = listed
            .into_iter()
            .max_by_key(|sandbox| sandbox.created_at)
            .ok_or_else(|| CriError::NotFound {
                socket: self.socket.clone(),
            })?;
        Ok(Sandbox {
            pod: Pod {
                uid: Some(uid.to_owned()),
                ..pod(&newest)
            },
            annotations: newest.annotations.into_iter().collect(),
        })
    }

    /// The pods of sandboxes: where a virtual machine or a kernel of its own runs a pod's containers,
    /// all that runs is in the sandbox's cgroup.
    pub(super) async fn list_sandboxes(
        &self,
        filter: PodSandboxFilter,
        message_len: usize,
    ) -> Result<Vec<Identity>, CriError> {
        let runtime = self.runtime_name().await?;
        let listed = self.sandboxes(filter, message_len).await?;
        let identity = |sandbox: PodSandbox| Identity {
            pod: Some(pod(&sandbox)),
            container: Container {
                id: sandbox.id,
                name: None,
                runtime: Some(runtime.clone()),
            },
        };
        Ok(listed.into_iter().map(identity).collect())
    }

    async fn sandboxes(
        &self,
        filter: PodSandboxFilter,
        message_len: usize,
    ) -> Result<Vec<PodSandbox>, CriError> {
        let mut client = self.client.clone().max_decoding_message_size(message_len);
        let request = ListPodSandboxRequest {
            filter: Some(filter),
        };
        let listed = client.list_pod_sandbox(request).await;
        let listed = listed.map_err(|status| self.failed("ListPodSandbox", &status))?;
        Ok(listed.into_inner().items)
    }
}

fn pod(sandbox: &PodSandbox) -> Pod {
    let named = |text: &str| {
        let text = escape::truncate(text, NAME_LEN).to_owned();
        Some(text).filter(|text| !text.is_empty())
    };
    let metadata = sandbox.metadata.clone().unwrap_or_default();
    Pod {
        namespace: named(&metadata.namespace),
        name: named(&metadata.name),
        uid: named(&metadata.uid),
    }
}
