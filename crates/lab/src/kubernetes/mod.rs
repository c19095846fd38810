//! Kubernetes' servers, built from Debian's source package.

mod build;
mod packages;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};

use self::build::Build;
use self::packages::Packages;
use xtask::cache::Cache;
use xtask::terminal;

/// What Debian has the source of, but no package.
const PROGRAMS: [&str; 4] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
];

/// The cache's entry with [`PROGRAMS`], `etcd` and `kubectl` in `bin/`.
pub(super) fn prepare(cache: &Cache) -> Result<PathBuf> {
    cache.entry("kubernetes-1.20.2-2", |dir| {
        let start = Instant::now();
        terminal::step(
            "building Kubernetes 1.20.2 from Debian's source package (about five minutes, once)",
        );
        let work = tempfile::tempdir().context("make a directory to build in")?;
        let packages = Packages::fetch(work.path())?;
        let build = Build::unpack(work.path(), &packages)?;
        build.openapi()?;
        build.mend_events()?;
        let bin = dir.join("bin");
        fs::create_dir(&bin).with_context(|| format!("make {}", bin.display()))?;
        build.programs(&PROGRAMS, &bin)?;
        for tool in ["etcd", "kubectl"] {
            fs::copy(packages.root().join("usr/bin").join(tool), bin.join(tool))
                .with_context(|| format!("copy {tool}"))?;
        }
        terminal::line(format_args!(
            "Kubernetes built in {} s",
            start.elapsed().as_secs()
        ));
        Ok(())
    })
}
