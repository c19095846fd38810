//! What the tiers need that takes minutes to make: once a machine, into the cache.

use anyhow::Result;
use xtask::cache::Cache;
use xtask::debian::{Consent, Debian};

use crate::{
    Alertmanager, ApiServer, Chromium, Cluster, Containerd, Kernels, PiParts, Prometheus, node_disk,
};

/// Flags of the command.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// For which tier
    #[arg(value_enum)]
    pub tier: Tier,
    /// Install what is missing without asking
    #[arg(long)]
    pub yes: bool,
}

/// A tier that needs real parts.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Tier {
    /// Kernels.
    Qemu,
    /// Kernels, and a disk with containerd.
    Node,
    /// An emulator, kernels and a system for its Raspberry Pis.
    Pi,
    /// containerd.
    Containerd,
    /// Prometheus beside it.
    Prometheus,
    /// Alertmanager beside Prometheus.
    Alertmanager,
    /// An API server beside containerd.
    Kubernetes,
    /// All of Kubernetes.
    Cluster,
    /// Chromium.
    Browser,
}

/// Prepares a tier.
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
    }
}
