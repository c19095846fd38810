//! `grpc.health.v1`.

use proto::bonk::bonk_service_server::SERVICE_NAME;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthApi, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

/// The same status for the server as a whole (the empty name) and for `bonk.v1.BonkService`.
pub(crate) struct Health(HealthReporter);

// === impl Health ===

impl Health {
    /// Not serving yet.
    pub(crate) async fn new() -> (Self, HealthServer<impl HealthApi>) {
        let (reporter, service) = health_reporter();
        let health = Self(reporter);
        health.set_not_serving().await;
        (health, service)
    }

    pub(crate) async fn set_serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    pub(crate) async fn set_not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for name in ["", SERVICE_NAME] {
            self.0.set_service_status(name, status).await;
        }
    }
}
