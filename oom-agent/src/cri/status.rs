//! Containers' statuses as the runtime has them: the kubelet reports no more.

use jiff::Timestamp;
use proto::cri::{ContainerFilter, ContainerState, ContainerStatus, ContainerStatusRequest};
use service::escape;

use super::{CALL_TIMEOUT, Cri, CriError, MESSAGE_LEN, NAME_LEN, POD_UID, container_info};
use crate::status_check::{State, Status};

/// Containers of one pod whose status is read: the victims' first, then the newest.
const MAX_CONTAINERS: usize = 32;

// === impl Cri ===

impl Cri {
    /// The statuses of these containers and of all others of the pod, also of those that have exited.
    /// Unknown containers are left out.
    pub(crate) async fn read_statuses(
        &self,
        pod_uid: Option<&str>,
        mut ids: Vec<String>,
    ) -> Result<Vec<Status>, CriError> {
        if let Some(uid) = pod_uid {
            let filter = ContainerFilter {
                label_selector: [(POD_UID.to_owned(), uid.to_owned())].into(),
                ..ContainerFilter::default()
            };
            let listed = self.within(CALL_TIMEOUT, self.request_containers(filter));
            let mut listed = listed.await?;
            listed.sort_by_key(|container| std::cmp::Reverse(container.created_at));
            for container in listed {
                if !ids.contains(&container.id) {
                    ids.push(container.id);
                }
            }
        }
        ids.truncate(MAX_CONTAINERS);
        let mut statuses = Vec::with_capacity(ids.len());
        for id in ids {
            statuses.extend(self.within(CALL_TIMEOUT, self.read_status(id)).await?);
        }
        Ok(statuses)
    }

    async fn read_status(&self, id: String) -> Result<Option<Status>, CriError> {
        let runtime = self.runtime_name().await?;
        let mut client = self.client.clone().max_decoding_message_size(MESSAGE_LEN);
        let request = ContainerStatusRequest {
            container_id: id.clone(),
            verbose: false,
        };
        match client.container_status(request).await {
            Ok(answer) => {
                let found = answer.into_inner().status;
                // With the id of the request.
                Ok(found.map(|found| to_status(id, &found, runtime)))
            }
            Err(error) if error.code() == tonic::Code::NotFound => Ok(None),
            Err(error) => Err(self.call_error("ContainerStatus", &error)),
        }
    }
}

fn to_status(id: String, found: &ContainerStatus, runtime: &str) -> Status {
    let name = found.metadata.as_ref().map(|metadata| &*metadata.name);
    let info = container_info(id, name, &found.labels, runtime);
    Status {
        container: info.container,
        pod: info.pod,
        state: match found.state() {
            ContainerState::ContainerCreated => State::Created,
            ContainerState::ContainerRunning => State::Running,
            ContainerState::ContainerExited => State::Exited,
            ContainerState::ContainerUnknown => State::Unknown,
        },
        reason: escape::truncate(&found.reason, NAME_LEN).to_owned(),
        exit_code: found.exit_code,
        created: timestamp(found.created_at).unwrap_or(Timestamp::MIN),
        finished: timestamp(found.finished_at),
    }
}

/// From ns since 1970. Zero, and the year 1 of containerd 1.x, mean none.
fn timestamp(ns: i64) -> Option<Timestamp> {
    (ns > 0)
        .then(|| Timestamp::from_nanosecond(i128::from(ns)).ok())
        .flatten()
}
