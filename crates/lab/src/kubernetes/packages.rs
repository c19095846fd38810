//! Debian's source package, and what it takes to build it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use xtask::debian::unpack_all;
use xtask::process::capture;

use crate::apt::{Apt, host_sources};

/// The compiler, etcd, kubectl, and a repaired library.
const PACKAGES: [&str; 5] = [
    "golang-1.19-go",
    "golang-1.19-src",
    "golang-github-modern-go-reflect2-dev",
    "etcd-server",
    "kubernetes-client",
];

/// The source package and the others, unpacked.
pub(super) struct Packages {
    dir: PathBuf,
}

impl Packages {
    /// Downloads them into `work`, by the host's own sources.
    pub(super) fn fetch(work: &Path) -> Result<Self> {
        let sources = host_sources().into_iter().enumerate();
        let sources =
            sources.map(|(n, (extension, text))| (format!("{n}.{extension}"), with_sources(&text)));
        let sources: Vec<_> = sources.collect();
        let apt = Apt::update(&work.join("apt"), &sources, &[])?;
        let packages = Self {
            dir: apt.dir().to_owned(),
        };
        fs::create_dir(packages.downloads()).context("make a directory for packages")?;
        let get = || {
            let mut command = apt.command("apt-get");
            command.current_dir(packages.downloads());
            command
        };
        capture(get().args(["source", "--download-only", "kubernetes"]))?;
        capture(get().arg("download").args(PACKAGES))?;
        unpack_all(&packages.downloads(), &packages.root())?;
        Ok(packages)
    }

    /// Where the packages are unpacked.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Where the packages are, sources included.
    pub(super) fn downloads(&self) -> PathBuf {
        self.dir.join("deb")
    }
}

/// A list of sources with source packages beside the binary ones, in either of
/// apt's two formats.
fn with_sources(list: &str) -> String {
    let mut out = String::new();
    for line in list.lines() {
        if line.trim_end() == "Types: deb" {
            out.push_str("Types: deb deb-src");
        } else {
            out.push_str(line);
            if let Some(rest) = line.strip_prefix("deb ") {
                out.push_str("\ndeb-src ");
                out.push_str(rest);
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_get_source_packages() {
        assert_eq!(
            with_sources("Types: deb\nURIs: http://deb.example\n"),
            "Types: deb deb-src\nURIs: http://deb.example\n"
        );
        assert_eq!(with_sources("Types: deb deb-src\n"), "Types: deb deb-src\n");
        assert_eq!(
            with_sources("# deb x\ndeb http://a b main\n"),
            "# deb x\ndeb http://a b main\ndeb-src http://a b main\n"
        );
    }
}
