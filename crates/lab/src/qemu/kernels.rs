//! Debian's kernels for virtual machines, one a suite.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::cache::Cache;
use xtask::debian::Debian;
use xtask::process::capture;
use xtask::terminal;

use crate::apt::Apt;

/// Which suites: of 2021, 2023 and 2025, and the one to come.
pub const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "sid"];

/// What a machine with a disk, and with containers on it, takes beyond the kernel itself.
pub(super) const MODULES: [&str; 2] = ["virtio_blk", "overlay"];

/// Of which suites' kernels these are there.
const WITH_MODULES: [&str; 2] = ["trixie", "sid"];

/// The package that depends on a suite's newest.
const META: &str = "linux-image-cloud-amd64";

/// The kernels' files.
#[derive(Debug, Clone)]
pub struct Kernels {
    dir: PathBuf,
}

impl Kernels {
    /// Installs QEMU, and downloads the kernels where they are not there yet.
    pub fn prepare(cache: &Cache, debian: Debian) -> Result<Self> {
        debian.install("the tier qemu", &["qemu-system-x86"])?;
        let dir = cache.entry("debian-cloud-kernels-2", |dir| {
            terminal::step("downloading Debian's kernels (about a minute, once)");
            let work = tempfile::tempdir().context("make a directory for packages")?;
            let suites = Apt::of_suites(work.path(), &SUITES, "amd64")?;
            for suite in SUITES {
                let root = work.path().join(suite);
                let kernel = fetch(&suites, suite, &root)
                    .with_context(|| format!("get the kernel of {suite}"))?;
                copy(&kernel, &dir.join(suite))?;
                if WITH_MODULES.contains(&suite) {
                    copy_modules(&root, &modules(dir, suite))
                        .with_context(|| format!("get modules of {suite}'s kernel"))?;
                }
            }
            Ok(())
        })?;
        Ok(Self { dir })
    }

    /// The kernel of a suite.
    pub fn kernel_of(&self, suite: &str) -> PathBuf {
        self.dir.join(suite)
    }

    /// The directory of its modules, compressed as they came.
    pub fn modules_of(&self, suite: &str) -> PathBuf {
        modules(&self.dir, suite)
    }
}

fn modules(dir: &Path, suite: &str) -> PathBuf {
    dir.join(format!("{suite}.modules"))
}

/// Finds [`MODULES`] wherever they lie below `root`.
fn copy_modules(root: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for module in MODULES {
        let name = format!("{module}.ko.xz");
        let found = capture(Command::new("find").arg(root).args(["-name", &name]))?;
        let from = found.lines().next();
        copy(
            from.with_context(|| format!("no {name}"))?.as_ref(),
            &to.join(name),
        )?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("copy to {}", to.display()))
}

fn fetch(suites: &Apt, suite: &str, root: &Path) -> Result<PathBuf> {
    let depends = suites.depends(META, suite)?;
    let image = image(&depends).with_context(|| format!("a kernel in {depends:?}"))?;
    // Since 2026 the image is an empty package; the kernel is in another one.
    let binary = image.replacen("linux-image-", "linux-binary-", 1);
    let package = if suites.has(&binary) { &binary } else { image };
    suites.unpack(package, root)?;
    let release = image.trim_start_matches("linux-image-");
    // In a package of their own since 2026.
    if package != image && WITH_MODULES.contains(&suite) {
        suites.unpack(&format!("linux-modules-{release}"), root)?;
    }
    let places = [
        root.join("boot").join(format!("vmlinuz-{release}")),
        root.join("usr/lib/modules").join(release).join("vmlinuz"),
    ];
    let found = places.into_iter().find(|path| path.is_file());
    found.with_context(|| format!("no kernel in {package}"))
}

/// `linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1), other` names the first.
pub(super) fn image(depends: &str) -> Option<&str> {
    depends
        .split([',', '|'])
        .filter_map(|one| one.split_whitespace().next())
        .find(|name| name.starts_with("linux-image-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_among_dependencies() {
        let check = |depends: &str, expect: Option<&str>| assert_eq!(image(depends), expect);
        check(
            "linux-base, linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)",
            Some("linux-image-6.1.0-50-cloud-amd64"),
        );
        check("linux-base (>= 4)", None);
    }
}
