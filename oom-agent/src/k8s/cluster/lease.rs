//! A Lease of `coordination.k8s.io/v1`: a write replaces only the version that was read.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as WireLease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{GetParams, PostParams};
use kube::core::{Request, request};

use super::{ApiError, Cluster, REQUEST_TIMEOUT};
use crate::k8s::error::{Attempt, CONTROLLER};
use crate::k8s::refusal::is_denial;
use crate::k8s::wire::{CallError, call, call_json, within};

static READ: Attempt = Attempt {
    to: "read the lease",
    right: "`get` on `leases` of coordination.k8s.io in its own namespace",
    quota: "count/leases.coordination.k8s.io",
    client: &CONTROLLER,
};
static WRITE: Attempt = Attempt {
    to: "write the lease",
    right: "`create` and `update` on `leases` of coordination.k8s.io in its own namespace",
    quota: "count/leases.coordination.k8s.io",
    client: &CONTROLLER,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Empty after a release.
    pub(crate) holder: String,
    /// How long it is valid after a renewal.
    pub(crate) duration: Duration,
    pub(crate) acquired: Option<Timestamp>,
    /// By the holder's clock.
    pub(crate) renewed: Option<Timestamp>,
    /// How often the holder changed.
    pub(crate) transitions: i32,
    /// Changes with every write; empty before the lease is created.
    pub(crate) version: String,
}

// === impl Cluster ===

impl Cluster {
    /// `None` where it does not exist.
    pub(crate) async fn read_lease(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Lease>, ApiError> {
        let request = leases(namespace).get(name, &GetParams::default());
        let lease = within(REQUEST_TIMEOUT, call_json(&self.client, request)).await;
        match lease {
            Ok(lease) => Ok(Some(from_wire(lease))),
            Err(error) if error.code() == Some(404) => Ok(None),
            Err(error) => Err(READ.error(error)),
        }
    }

    /// Creates it where its version is empty, else replaces that version. False where another was faster.
    pub(crate) async fn write_lease(
        &self,
        namespace: &str,
        name: &str,
        lease: &Lease,
    ) -> Result<bool, ApiError> {
        let params = PostParams::default();
        let body = serde_json::to_vec(&to_wire(namespace, name, lease));
        let body = body.map_err(request::Error::SerializeBody);
        let request = body.and_then(|body| match lease.version.as_str() {
            "" => leases(namespace).create(&params, body),
            _ => leases(namespace).replace(name, &params, body),
        });
        let written = within(REQUEST_TIMEOUT, call(&self.client, request)).await;
        match written {
            Ok(_) => Ok(true),
            // 404: another has deleted it.
            Err(CallError::Answer {
                code: 404 | 409,
                message,
                ..
            }) if !is_denial(&message) => Ok(false),
            Err(error) => Err(WRITE.error(error)),
        }
    }
}

fn leases(namespace: &str) -> Request {
    Request::new(format!(
        "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    ))
}

fn from_wire(lease: WireLease) -> Lease {
    let spec = lease.spec.unwrap_or_default();
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    Lease {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        acquired: spec.acquire_time.map(|time| time.0),
        renewed: spec.renew_time.map(|time| time.0),
        transitions: spec.lease_transitions.unwrap_or_default(),
        version: lease.metadata.resource_version.unwrap_or_default(),
    }
}

fn to_wire(namespace: &str, name: &str, lease: &Lease) -> WireLease {
    WireLease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            resource_version: Some(lease.version.clone()).filter(|version| !version.is_empty()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(lease.holder.clone()),
            lease_duration_seconds: i32::try_from(lease.duration.as_secs()).ok(),
            acquire_time: lease.acquired.map(MicroTime),
            renew_time: lease.renewed.map(MicroTime),
            lease_transitions: Some(lease.transitions),
            ..LeaseSpec::default()
        }),
    }
}
