//! `cargo xtask load-ebpf`: every program through the running kernel's verifier.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::binaries::Binaries;
use crate::build_ebpf;
use crate::process::is_root;

/// Builds what it takes and passes on the output of `oom-agent check`.
pub fn main(args: build_ebpf::Args) -> Result<ExitCode> {
    if !is_root() {
        bail!("load-ebpf needs root: the kernel verifies programs for root only");
    }
    build_ebpf::main(args)?;
    let binaries = Binaries::build()?;
    let status = Command::new(&binaries.agent)
        .arg("check")
        .status()
        .with_context(|| format!("start {}", binaries.agent.display()))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
