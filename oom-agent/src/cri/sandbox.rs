//! Pods' sandboxes.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::cri::{ListPodSandboxRequest, PodSandbox, PodSandboxFilter};

use super::{ContainerInfo, Cri, CriError, MESSAGE_LEN, POD_UID, non_empty};
use crate::incident::{Container, Pod};

/// No incident waits for it, and a node short of memory has a slow runtime.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(3);

/// A pod as it was when its sandbox was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sandbox {
    pub(crate) pod: Pod,
    /// The pod's annotations at that time; later changes are not seen.
    pub(crate) annotations: BTreeMap<String, String>,
}

// === impl Cri ===

impl Cri {
    /// The newest sandbox of the pod that the node calls `uid`.
    pub(crate) async fn find_sandbox(&self, uid: &str) -> Result<Sandbox, CriError> {
        self.within(SANDBOX_TIMEOUT, self.find_newest_sandbox(uid))
            .await
    }

    async fn find_newest_sandbox(&self, uid: &str) -> Result<Sandbox, CriError> {
        let filter = PodSandboxFilter {
            label_selector: [(POD_UID.to_owned(), uid.to_owned())].into(),
            ..PodSandboxFilter::default()
        };
        let listed = self.request_sandboxes(filter, MESSAGE_LEN).await?;
        let newest = listed
            .into_iter()
            .max_by_key(|sandbox| sandbox.created_at)
            .ok_or_else(|| CriError::NotFound {
                socket: self.socket.clone(),
            })?;
        Ok(Sandbox {
            pod: Pod {
                uid: Some(uid.to_owned()),
                ..sandbox_pod(&newest)
            },
            annotations: newest.annotations.into_iter().collect(),
        })
    }

    /// Sandboxes as containers: where a virtual machine or another kernel runs a pod's containers, all of
    /// their processes are in the sandbox's cgroup.
    pub(super) async fn list_sandboxes(
        &self,
        filter: PodSandboxFilter,
        message_len: usize,
    ) -> Result<Vec<ContainerInfo>, CriError> {
        let runtime = self.runtime_name().await?;
        let listed = self.request_sandboxes(filter, message_len).await?;
        let info = |sandbox: PodSandbox| ContainerInfo {
            pod: Some(sandbox_pod(&sandbox)),
            container: Container {
                id: sandbox.id,
                name: None,
                runtime: Some(runtime.to_owned()),
            },
        };
        Ok(listed.into_iter().map(info).collect())
    }

    async fn request_sandboxes(
        &self,
        filter: PodSandboxFilter,
        message_len: usize,
    ) -> Result<Vec<PodSandbox>, CriError> {
        let mut client = self.client.clone().max_decoding_message_size(message_len);
        let request = ListPodSandboxRequest {
            filter: Some(filter),
        };
        let listed = client.list_pod_sandbox(request).await;
        let listed = listed.map_err(|status| self.call_error("ListPodSandbox", &status))?;
        Ok(listed.into_inner().items)
    }
}

fn sandbox_pod(sandbox: &PodSandbox) -> Pod {
    let metadata = sandbox.metadata.clone().unwrap_or_default();
    Pod {
        namespace: non_empty(&metadata.namespace),
        name: non_empty(&metadata.name),
        uid: non_empty(&metadata.uid),
    }
}
