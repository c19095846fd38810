//! What the runtime says of how containers are: the kubelet reports no more of them.

use jiff::Timestamp;
use proto::cri::{
    ContainerFilter, ContainerState, ContainerStatus, ContainerStatusRequest, ListContainersRequest,
};
use service::escape;

use super::{Cri, CriError, LIST_LEN, MESSAGE_LEN, NAME_LEN, POD_UID, identity};
use crate::status_check::{State, Status};

/// Containers of one pod whose status is asked for: the struck first, then those made last.
const CONTAINERS: usize = 32;

// === impl Cri ===

impl Cri {
    /// The statuses of these containers, and of all others of the pod, those that have exited included.
    /// Whom the runtime does not know (any more) is left out.
    pub async fn statuses(
        &self,
        pod_uid: Option<&str>,
        ids: Vec<String>,
    ) -> Result<Vec<Status>, CriError> {
        let mut ids = ids;
        if let Some(uid) = pod_uid {
            let filter = ContainerFilter {
                label_selector: [(POD_UID.to_owned(), uid.to_owned())].into(),
                ..ContainerFilter::default()
            };
            for id in self.in_time(self.ids(filter)).await? {
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        }
        ids.truncate(CONTAINERS);
        let mut statuses = Vec::with_capacity(ids.len());
        for id in ids {
            statuses.extend(self.in_time(self.status(id)).await?);
        }
        Ok(statuses)
    }

    async fn ids(&self, filter: ContainerFilter) -> Result<Vec<String>, CriError> {
        let mut client = self.client.clone().max_decoding_message_size(LIST_LEN);
        let request = ListContainersRequest {
            filter: Some(filter),
        };
        let listed = client.list_containers(request).await;
        let listed = listed.map_err(|status| self.failed("ListContainers", &status))?;
        let mut containers = listed.into_inner().containers;
        containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
        Ok(containers
            .into_iter()
            .map(|container| container.id)
            .collect())
    }

    async fn status(&self, id: String) -> Result<Option<Status>, CriError> {
        let runtime = self.runtime_name().await?;
        let mut client = self.client.clone().max_decoding_message_size(MESSAGE_LEN);
        let request = ContainerStatusRequest {
            container_id: id.clone(),
            verbose: false,
        };
        match client.container_status(request).await {
            Ok(answer) => {
                let found = answer.into_inner().status;
                // It is known by the id that was asked for.
                Ok(found.map(|found| status(id, found, runtime)))
            }
            Err(error) if error.code() == tonic::Code::NotFound => Ok(None),
            Err(error) => Err(self.failed("ContainerStatus", &error)),
        }
    }
}

fn status(id: String, mut found: ContainerStatus, runtime: String) -> Status {
    let name = found.metadata.take().map(|metadata| metadata.name);
    let identity = identity(id, name, std::mem::take(&mut found.labels), runtime);
    Status {
        container: identity.container,
        pod: identity.pod,
        state: match found.state() {
            ContainerState::ContainerCreated => State::Created,
            ContainerState::ContainerRunning => State::Running,
            ContainerState::ContainerExited => State::Exited,
            ContainerState::ContainerUnknown => State::Unknown,
        },
        reason: escape::truncate(&found.reason, NAME_LEN).to_owned(),
        exit_code: found.exit_code,
        created: moment(found.created_at).unwrap_or(Timestamp::MIN),
        finished: moment(found.finished_at),
    }
}

/// Of ns since 1970; zero, and with containerd 1.x the year 1, is none.
fn moment(ns: i64) -> Option<Timestamp> {
    (ns > 0)
        .then(|| Timestamp::from_nanosecond(i128::from(ns)).ok())
        .flatten()
}
