//! Other suites of the host's own Debian mirror: to download from, never to
//! install from, since their libraries may be newer.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use xtask::debian::unpack_all;
use xtask::process::capture;

use crate::apt::{Apt, host_sources};

/// Holds the keys of all suites.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with the lists of other suites.
pub(super) struct Suites(Apt);

impl Suites {
    /// Fetches the lists of `suites` for `architecture`, as Debian calls it, into `dir`.
    pub(super) fn update(dir: &Path, suites: &[&str], architecture: &str) -> Result<Self> {
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
        Apt::update(dir, &[sources], &options).map(Self)
    }

    /// What `package` of `suite` depends on, as apt shows it.
    pub(super) fn depends(&self, package: &str, suite: &str) -> Result<String> {
        let shown = capture(
            self.0
                .command("apt-cache")
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
        capture(self.0.command("apt-cache").args(["show", package])).is_ok()
    }

    /// Downloads one package and unpacks it into `root`.
    pub(super) fn unpack(&self, package: &str, root: &Path) -> Result<()> {
        let debs = tempfile::tempdir_in(self.0.dir()).context("make a directory for a package")?;
        capture(
            self.0
                .command("apt-get")
                .args(["download", package])
                .current_dir(debs.path()),
        )?;
        unpack_all(debs.path(), root)
    }
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
