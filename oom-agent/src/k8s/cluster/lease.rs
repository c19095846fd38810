//! A Lease of `coordination.k8s.io/v1`: read whole, written only over the version that was read.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as WireLease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::PostParams;

use super::{ApiError, Cluster, PATIENCE};
use crate::k8s::error::{Attempt, CONTROLLER};
use crate::k8s::refusal::is_denial;

const READ: Attempt = Attempt {
    to: "read the lease",
    right: "`get` on `leases` of coordination.k8s.io in its own namespace",
    client: &CONTROLLER,
};
const WRITE: Attempt = Attempt {
    to: "write the lease",
    right: "`create` and `update` on `leases` of coordination.k8s.io in its own namespace",
    client: &CONTROLLER,
};

/// Who may act.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Empty where it was released.
    pub holder: String,
    /// How long it holds after a renewal.
    pub duration: Duration,
    /// When its holder took it.
    pub acquired: Option<Timestamp>,
    /// When its holder renewed it last, by the holder's clock.
    pub renewed: Option<Timestamp>,
    /// How often it went to another holder.
    pub transitions: i32,
    /// Changes with every write; empty for a lease that is yet to be created.
    pub version: String,
}

// === impl Cluster ===

impl Cluster {
    /// `None` where it does not exist.
    pub async fn lease(&self, namespace: &str, name: &str) -> Result<Option<Lease>, ApiError> {
        let api: Api<WireLease> = Api::namespaced(self.client.clone(), namespace);
        let lease = READ.within(PATIENCE, api.get_opt(name)).await?;
        Ok(lease.map(plain))
    }

    /// Creates it where its version is empty, else replaces just that version; false where somebody else was faster.
    pub async fn write_lease(
        &self,
        namespace: &str,
        name: &str,
        lease: &Lease,
    ) -> Result<bool, ApiError> {
        let api: Api<WireLease> = Api::namespaced(self.client.clone(), namespace);
        let body = wire(namespace, name, lease);
        let params = PostParams::default();
        let written = async {
            if lease.version.is_empty() {
                api.create(&params, &body).await
            } else {
                api.replace(name, &params, &body).await
            }
        };
        let written = async {
            match written.await {
                Ok(_) => Ok(true),
                // 404: it was deleted meanwhile.
                Err(kube::Error::Api(status))
                    if matches!(status.code, 404 | 409) && !is_denial(&status.message) =>
                {
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        };
        WRITE.within(PATIENCE, written).await
    }
}

fn plain(lease: WireLease) -> Lease {
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

fn wire(namespace: &str, name: &str, lease: &Lease) -> WireLease {
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
