//! apt with lists of its own, so that nothing of the host's apt is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::debian::{OPTIONS, unpack_all};
use xtask::process::capture;

/// Holds the keys of all suites.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Downloads packages.
pub(crate) struct Apt {
    dir: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// In `dir`, with these lists of sources by their names, fetched; `options` are apt's.
    pub(crate) fn update(
        dir: &Path,
        sources: &[(String, String)],
        options: &[(&str, &str)],
    ) -> Result<Self> {
        for sub in ["lists/partial", "cache/archives/partial", "parts"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        }
        for (name, text) in sources {
            let path = dir.join("parts").join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        let at = |sub: &str| dir.join(sub).display().to_string();
        let places = [
            ("Dir::Etc::sourcelist", "-".to_owned()),
            ("Dir::Etc::sourceparts", at("parts")),
            ("Dir::State::Lists", at("lists")),
            ("Dir::Cache", at("cache")),
            ("APT::Sandbox::User", "root".to_owned()),
        ];
        let places = places.iter().map(|(option, value)| (*option, &**value));
        let all = places.chain(options.iter().copied());
        let apt = Self {
            dir: dir.to_owned(),
            options: all
                .map(|(option, value)| format!("{option}={value}"))
                .collect(),
        };
        capture(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    /// In `dir`, with the lists of `suites` of the host's own mirror for `architecture`, as Debian calls it: to
    /// download from, never to install from, since their libraries may be newer.
    pub(crate) fn of_suites(dir: &Path, suites: &[&str], architecture: &str) -> Result<Self> {
        let hosts = host_sources();
        let mut hosts = hosts.iter();
        let mirror = hosts
            .find_map(|(_, list)| mirror(list))
            .context("no Debian mirror among this host's apt sources")?;
        let line = |suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        let sources = ("suites.list".to_owned(), suites.iter().map(line).collect());
        let status = dir.join("status");
        fs::write(&status, "").context("write an empty list of packages")?;
        let options = [
            ("Dir::State::status", &*status.to_string_lossy()),
            ("APT::Architecture", architecture),
            // In place of dpkg's own.
            ("APT::Architectures", architecture),
        ];
        Self::update(dir, &[sources], &options)
    }

    /// A command of one of apt's programs.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(OPTIONS);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    /// What `package` of `suite` depends on, as apt shows it.
    pub(crate) fn depends(&self, package: &str, suite: &str) -> Result<String> {
        let shown = capture(
            self.command("apt-cache")
                .args(["show", &format!("{package}/{suite}")]),
        )?;
        let depends = shown
            .lines()
            .find_map(|line| line.strip_prefix("Depends: "));
        depends
            .map(str::to_owned)
            .with_context(|| format!("{package} of {suite} has no dependencies"))
    }

    /// Whether there is such a package.
    pub(crate) fn has(&self, package: &str) -> bool {
        capture(self.command("apt-cache").args(["show", package])).is_ok()
    }

    /// Downloads one package and unpacks it into `root`.
    pub(crate) fn unpack(&self, package: &str, root: &Path) -> Result<()> {
        let debs = tempfile::tempdir_in(&self.dir).context("make a directory for a package")?;
        capture(
            self.command("apt-get")
                .args(["download", package])
                .current_dir(debs.path()),
        )?;
        unpack_all(debs.path(), root)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The host's own lists of sources, with their extensions.
pub(crate) fn host_sources() -> Vec<(String, String)> {
    let parts = fs::read_dir("/etc/apt/sources.list.d");
    let parts = parts
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let lists = std::iter::once(PathBuf::from("/etc/apt/sources.list")).chain(parts);
    let read = |list: PathBuf| {
        let extension = list.extension().unwrap_or_default().to_string_lossy();
        Some((extension.into_owned(), fs::read_to_string(&list).ok()?))
    };
    lists.filter_map(read).collect()
}

/// Where a list, in either of apt's two formats, gets Debian itself from.
fn mirror(list: &str) -> Option<&str> {
    list.lines()
        .filter_map(|line| {
            let mut words = match line.strip_prefix("URIs:") {
                Some(uris) => uris.split_whitespace(),
                None => line.strip_prefix("deb ")?.split_whitespace(),
            };
            words.find(|word| word.contains("://"))
        })
        .find(|uri| uri.trim_end_matches('/').ends_with("/debian"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_in_both_formats() {
        let check = |list: &str, expect: Option<&str>| assert_eq!(mirror(list), expect, "{list}");
        check(
            "Types: deb\nURIs: http://deb.example/debian-security\n\nURIs: http://deb.example/debian/\n",
            Some("http://deb.example/debian/"),
        );
        check(
            "# deb http://no.example/debian x main\n\
             deb [signed-by=/k arch=amd64] http://deb.example/debian sid main\n",
            Some("http://deb.example/debian"),
        );
        check("deb http://deb.example/ubuntu noble main\n", None);
    }
}
