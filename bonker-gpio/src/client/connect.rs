//! A connection to a bonker, or a sentence that says what to check.

use std::time::Duration;

use proto::bonk::bonk_service_client::BonkServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::{ClientError, DEADLINE, Refusal};

/// A stream on a dead network ends, instead of staying silent for ever.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn connect(url: &str) -> Result<BonkServiceClient<Channel>, ClientError> {
    let failed = |source| ClientError::Connect {
        url: url.to_owned(),
        source,
    };
    let channel = Endpoint::from_shared(url.to_owned())
        .map_err(failed)?
        .connect_timeout(DEADLINE)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_PATIENCE)
        .connect()
        .await
        .map_err(failed)?;
    Ok(BonkServiceClient::new(channel))
}

/// `call`, connecting included, held to the deadline.
pub(super) async fn in_time<T>(
    url: &str,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::Late {
            url: url.to_owned(),
        }),
    }
}

/// Makes a refused call an error of this room.
pub(super) fn refused(url: &str) -> impl Fn(tonic::Status) -> ClientError {
    move |status| {
        let (url, source) = (url.to_owned(), Refusal::from(status));
        if source.is_transport() {
            ClientError::HungUp { url, source }
        } else {
            ClientError::Call { url, source }
        }
    }
}
