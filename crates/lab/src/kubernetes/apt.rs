//! Debian's source package, and what it takes to build it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use xtask::debian::{OPTIONS, unpack_all};
use xtask::process::capture;

/// The compiler, etcd, kubectl, and a repaired library.
const PACKAGES: [&str; 5] = [
    "golang-1.19-go",
    "golang-1.19-src",
    "golang-github-modern-go-reflect2-dev",
    "etcd-server",
    "kubernetes-client",
];

/// apt with the host's own sources, source packages included, and with lists of
/// its own, so that nothing of the host's apt is changed.
pub(super) struct Apt {
    dir: PathBuf,
}

impl Apt {
    pub(super) fn new(work: &Path) -> Result<Self> {
        let dir = work.join("apt");
        for sub in [
            "lists/partial",
            "cache/archives/partial",
            "parts",
            "deb",
            "root",
        ] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        }
        let mut lists: Vec<PathBuf> = vec!["/etc/apt/sources.list".into()];
        lists.extend(
            fs::read_dir("/etc/apt/sources.list.d")
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path()),
        );
        for (serial, list) in lists.iter().enumerate() {
            let Ok(text) = fs::read_to_string(list) else {
                continue;
            };
            let kind = list.extension().unwrap_or_default().to_string_lossy();
            let to = dir.join(format!("parts/{serial}.{kind}"));
            fs::write(&to, with_sources(&text))
                .with_context(|| format!("write {}", to.display()))?;
        }
        Ok(Self { dir })
    }

    /// Where the packages are unpacked.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Where the packages are, sources included.
    pub(super) fn downloads(&self) -> PathBuf {
        self.dir.join("deb")
    }

    pub(super) fn fetch(&self) -> Result<()> {
        let apt = || {
            let mut command = Command::new("apt-get");
            command.args(OPTIONS).current_dir(self.dir.join("deb"));
            for (option, value) in [
                ("Dir::Etc::sourcelist", "-".into()),
                ("Dir::Etc::sourceparts", self.dir.join("parts")),
                ("Dir::State::Lists", self.dir.join("lists")),
                ("Dir::Cache", self.dir.join("cache")),
                ("APT::Sandbox::User", "root".into()),
            ] {
                command
                    .arg("-o")
                    .arg(format!("{option}={}", value.display()));
            }
            command
        };
        capture(apt().arg("update"))?;
        capture(apt().args(["source", "--download-only", "kubernetes"]))?;
        capture(apt().arg("download").args(PACKAGES))?;
        unpack_all(&self.dir.join("deb"), &self.root())
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
