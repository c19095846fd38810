//! A Lease of `coordination.k8s.io/v1`: a write replaces only the version that was read.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{GetParams, PostParams};
use kube::core::Request;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;

use super::{ApiError, Cluster, REQUEST_TIMEOUT};
use crate::k8s::error::{Attempt, CONTROLLER};
use crate::k8s::pod::Metadata;
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

/// Serializes as the `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lease {
    /// Empty after a release.
    #[serde(rename = "holderIdentity")]
    pub(crate) holder: String,
    /// How long it is valid after a renewal.
    #[serde(rename = "leaseDurationSeconds")]
    pub(crate) seconds: u32,
    #[serde(rename = "acquireTime", serialize_with = "serialize_microseconds")]
    pub(crate) acquired: Option<Timestamp>,
    /// By the holder's clock.
    #[serde(rename = "renewTime", serialize_with = "serialize_microseconds")]
    pub(crate) renewed: Option<Timestamp>,
    /// How often the holder changed.
    #[serde(rename = "leaseTransitions")]
    pub(crate) transitions: i32,
    /// Changes with every write; empty before the lease is created.
    #[serde(skip)]
    pub(crate) version: String,
}

#[derive(Deserialize)]
struct WireLease {
    metadata: Metadata,
    #[serde(default)]
    spec: Lease,
}

// === impl Cluster ===

impl Cluster {
    /// `None` where it does not exist.
    pub(crate) async fn read_lease(&self, name: &str) -> Result<Option<Lease>, ApiError> {
        let request = self.leases().get(name, &GetParams::default());
        let lease = within(REQUEST_TIMEOUT, call_json(&self.client, request)).await;
        match lease {
            Ok(WireLease { metadata, spec }) => Ok(Some(Lease {
                version: metadata.resource_version,
                ..spec
            })),
            Err(CallError::Answer { missing: true, .. }) => Ok(None),
            Err(error) => Err(READ.error(error)),
        }
    }

    /// Creates it where its version is empty, else replaces that version. False where another was faster.
    pub(crate) async fn write_lease(&self, name: &str, lease: &Lease) -> Result<bool, ApiError> {
        let params = PostParams::default();
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace().to_owned()),
            resource_version: Some(lease.version.clone()).filter(|version| !version.is_empty()),
            ..ObjectMeta::default()
        };
        let body = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": lease,
        });
        let body = body.to_string().into_bytes();
        let request = match lease.version.as_str() {
            "" => self.leases().create(&params, body),
            _ => self.leases().replace(name, &params, body),
        };
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

    fn leases(&self) -> Request {
        let namespace = self.namespace();
        Request::new(format!(
            "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        ))
    }
}

/// With six digits: Kubernetes parses no other number of them.
#[expect(clippy::ref_option, reason = "serde's signature")]
fn serialize_microseconds<S: Serializer>(
    time: &Option<Timestamp>,
    to: S,
) -> Result<S::Ok, S::Error> {
    time.map(MicroTime).serialize(to)
}
