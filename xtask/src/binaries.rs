//! The workspace's own programs, built in the profile that the tests use, so
//! that nothing is compiled twice.

use std::path::PathBuf;

use anyhow::Result;

use crate::process::run;
use crate::{say, workspace};

/// Where they lie.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) agent: PathBuf,
    pub(crate) bonker: PathBuf,
}

impl Binaries {
    /// Builds both; the eBPF object must be there.
    pub(crate) fn build() -> Result<Self> {
        say::step("building oom-agent and bonker-gpio");
        // The whole workspace: one set of features for every command here.
        run(workspace::cargo().args(["build", "--workspace", "--bins", "--quiet"]))?;
        let dir = workspace::target_dir().join("debug");
        Ok(Self {
            agent: dir.join("oom-agent"),
            bonker: dir.join("bonker-gpio"),
        })
    }
}
