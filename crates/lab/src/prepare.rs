//! What the tiers need that takes minutes to make: once a machine, into the cache.

use anyhow::Result;
use xtask::cache::Cache;
use xtask::debian::{Consent, Debian};
use xtask::test::Tier;

use crate::apiserver::ApiServer;
use crate::chromium::Chromium;
use crate::cluster::Cluster;
use crate::containerd::Containerd;
use crate::prometheus::{Alertmanager, Prometheus};
use crate::qemu::{Kernels, PiParts, node_disk};

/// Flags of the command.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// For which tier
    #[arg(value_enum)]
    tier: Tier,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

/// Prepares a tier, where it needs real parts.
pub fn main(args: Args) -> Result<()> {
    let (cache, debian) = (Cache::open()?, Debian::new(Consent::new(args.yes))?);
    match args.tier {
        Tier::Qemu => Kernels::prepare(&cache, debian).map(drop),
        Tier::Node => {
            Kernels::prepare(&cache, debian)?;
            node_disk(&cache, debian).map(drop)
        }
        Tier::Pi => PiParts::prepare(&cache, debian).map(drop),
        Tier::Containerd => Containerd::prepare(&cache, debian).map(drop),
        Tier::Prometheus => {
            Containerd::prepare(&cache, debian)?;
            Prometheus::prepare(&cache, debian).map(drop)
        }
        Tier::Alertmanager => {
            Prometheus::prepare(&cache, debian)?;
            Alertmanager::prepare(&cache, debian).map(drop)
        }
        Tier::Kubernetes => {
            Containerd::prepare(&cache, debian)?;
            ApiServer::prepare(&cache).map(drop)
        }
        Tier::Cluster => Cluster::prepare(&cache, debian).map(drop),
        Tier::Browser => Chromium::prepare(debian).map(drop),
        Tier::Lint | Tier::Unit | Tier::Kernel | Tier::Demo => Ok(()),
    }
}
