//! What benchmarks start with.

use std::path::PathBuf;

use anyhow::{Result, bail};
use lab::interrupt;
use xtask::debian::Consent;
use xtask::process::is_root;
use xtask::{build_ebpf, dist, workspace};

/// Which programs are measured.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(super) struct Built {
    #[command(flatten)]
    ebpf: build_ebpf::Args,
    /// An oom-agent that is built already [default: built as `dist` builds it].
    #[arg(long, value_name = "FILE", requires = "bonker")]
    agent: Option<PathBuf>,
    /// A bonker-gpio that is built already [default: built as `dist` builds it].
    #[arg(long, value_name = "FILE", requires = "agent")]
    bonker: Option<PathBuf>,
}

/// Their files.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) agent: PathBuf,
    pub(super) bonker: PathBuf,
}

/// What the benchmark of that name needs before all else.
pub(super) fn start(benchmark: &str) -> Result<()> {
    if !is_root() {
        bail!(
            "the benchmark needs root, to load eBPF programs and to make cgroups with a memory limit: \
             run `cargo xtask bench {benchmark}` as root"
        );
    }
    interrupt::catch()
}

/// The agent to measure: the one given, else one built as `dist` builds it.
pub(super) fn agent(ebpf: build_ebpf::Args, given: Option<&PathBuf>) -> Result<PathBuf> {
    if let Some(agent) = given {
        return Ok(agent.clone());
    }
    dist::host(ebpf)?;
    Ok(workspace::root().join("dist/oom-agent"))
}

// === impl Built ===

impl Built {
    /// Builds the BPF objects, the benchmark's own among them.
    pub(super) fn objects(&self) -> Result<()> {
        build_ebpf::main(self.ebpf)
    }

    /// Builds what is not built yet.
    pub(super) fn programs(&self) -> Result<Programs> {
        let agent = agent(self.ebpf, self.agent.as_ref())?;
        let built = || agent.with_file_name("bonker-gpio");
        Ok(Programs {
            bonker: self.bonker.clone().unwrap_or_else(built),
            agent,
        })
    }

    /// What it may install.
    pub(super) fn consent(&self) -> Consent {
        Consent::new(self.ebpf.yes)
    }
}
