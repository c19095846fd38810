//! Other suites of the host's own Debian mirror: to download from, never to
//! install from, since their libraries may be newer.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use xtask::debian::{OPTIONS, unpack_all};
use xtask::process::capture;

/// Holds the keys of all suites.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with lists of its own, so that nothing of the host's apt is changed.
pub(super) struct Suites {
    dir: PathBuf,
    architecture: &'static str,
}

impl Suites {
    /// Fetches the lists of `suites` for `architecture`, as Debian calls it, into `dir`.
    pub(super) fn update(dir: &Path, suites: &[&str], architecture: &'static str) -> Result<Self> {
        for sub in ["lists/partial", "cache/archives/partial", "deb"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        }
        let mut text = String::new();
        let lists = hosts_lists();
        let mirror = lists
            .iter()
            .find_map(|list| mirror(list))
            .context("no Debian mirror among this host's apt sources")?;
        for suite in suites {
            let _ = writeln!(text, "deb [signed-by={KEYRING}] {mirror} {suite} main");
        }
        fs::write(dir.join("sources.list"), text).context("write a list of sources")?;
        fs::write(dir.join("status"), "").context("write an empty list of packages")?;
        let suites = Self {
            dir: dir.to_owned(),
            architecture,
        };
        capture(suites.apt("apt-get").arg("update"))?;
        Ok(suites)
    }

    /// What `package` of `suite` depends on, by apt's own words.
    pub(super) fn depends(&self, package: &str, suite: &str) -> Result<String> {
        let shown = capture(
            self.apt("apt-cache")
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
    pub(super) fn has(&self, package: &str) -> bool {
        capture(self.apt("apt-cache").args(["show", package])).is_ok()
    }

    /// Downloads one package and unpacks it into `root`.
    pub(super) fn unpack(&self, package: &str, root: &Path) -> Result<()> {
        let debs = tempfile::tempdir_in(&self.dir).context("make a directory for a package")?;
        capture(
            self.apt("apt-get")
                .args(["download", package])
                .current_dir(debs.path()),
        )?;
        unpack_all(debs.path(), root)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(OPTIONS);
        for (option, value) in [
            ("Dir::Etc::sourcelist", self.dir.join("sources.list")),
            ("Dir::Etc::sourceparts", "-".into()),
            ("Dir::State::Lists", self.dir.join("lists")),
            ("Dir::State::status", self.dir.join("status")),
            ("Dir::Cache", self.dir.join("cache")),
            ("APT::Sandbox::User", "root".into()),
            ("APT::Architecture", self.architecture.into()),
            // In place of dpkg's own.
            ("APT::Architectures", self.architecture.into()),
        ] {
            let mut pair = OsString::from(option);
            pair.push("=");
            pair.push(value);
            command.arg("-o").arg(pair);
        }
        command
    }
}

fn hosts_lists() -> Vec<String> {
    let parts = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    std::iter::once(PathBuf::from("/etc/apt/sources.list"))
        .chain(parts)
        .filter_map(|list| fs::read_to_string(list).ok())
        .collect()
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
