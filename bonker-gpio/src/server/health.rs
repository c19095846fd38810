//! What grpc.health.v1 says of this server.

use proto::bonk::bonk_service_server::SERVICE_NAME;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthApi, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

/// Says the same for the server as a whole (the empty name) and for `bonk.v1.BonkService`.
pub(super) struct Health(HealthReporter);

// === impl Health ===

impl Health {
    /// Not serving yet.
    pub(super) async fn new() -> (Self, HealthServer<impl HealthApi>) {
        let (reporter, service) = health_reporter();
        let health = Self(reporter);
        health.not_serving().await;
        (health, service)
    }

    pub(super) async fn serving(&self) {
        self.say(ServingStatus::Serving).await;
    }

    pub(super) async fn not_serving(&self) {
        self.say(ServingStatus::NotServing).await;
    }

    async fn say(&self, status: ServingStatus) {
        for name in ["", SERVICE_NAME] {
            self.0.set_service_status(name, status).await;
        }
    }
}
