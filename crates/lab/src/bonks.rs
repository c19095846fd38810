//! A client of bonk.v1, for items that the command line does not make.

use anyhow::{Context as _, Result};
use proto::bonk::bonk_service_client::BonkServiceClient;
use proto::bonk::{BonkItem, BonkRequest, Outcome};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::background;

/// Sends one at a time.
#[derive(Debug)]
pub struct Bonks {
    runtime: Runtime,
    client: BonkServiceClient<Channel>,
}

impl Bonks {
    /// To the bonker at that URL.
    pub fn connect(url: &str) -> Result<Self> {
        let runtime = background::runtime()?;
        let client = runtime
            .block_on(BonkServiceClient::connect(url.to_owned()))
            .with_context(|| format!("connect to {url}"))?;
        Ok(Self { runtime, client })
    }

    /// Sends `item` and returns its fate.
    pub fn send(&mut self, item: BonkItem) -> Result<Outcome> {
        let sent = self.client.bonk(BonkRequest { item: Some(item) });
        let answer = self.runtime.block_on(sent).context("send a bonk")?;
        let answer = answer.into_inner().acknowledgement;
        Ok(answer.context("an acknowledgement")?.outcome())
    }
}
