//! Debian's packages: unpacked into a directory without installing anything,
//! or installed after the person at the terminal agreed.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::process::{capture, is_root, run, which};
use crate::terminal;

/// Whether system-wide installations may go ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Given beforehand, by `--yes` or `CI=true`.
    Given,
    /// To be confirmed on the terminal.
    Confirm,
}

impl Consent {
    /// From the `--yes` flag and the environment's `CI`.
    pub fn new(yes: bool) -> Self {
        if yes || crate::workspace::is_ci() {
            Self::Given
        } else {
            Self::Confirm
        }
    }

    /// Fails, with what to run instead, unless `list` may be installed.
    fn permits(
        self,
        list: &str,
        terminal: bool,
        confirm: impl FnOnce() -> io::Result<bool>,
    ) -> Result<()> {
        if self == Self::Given {
            return Ok(());
        }
        let hint =
            format!("run `apt-get install {list}` as root, or this command again with --yes");
        if !terminal {
            bail!("no terminal to confirm the installation of {list}: {hint}");
        }
        if !confirm().context("read the terminal")? {
            bail!("not installed: {hint}");
        }
        Ok(())
    }
}

/// The package manager of a Debian-like host.
#[derive(Debug, Clone, Copy)]
pub struct Debian {
    consent: Consent,
}

impl Debian {
    /// Fails where the host has no apt.
    pub fn new(consent: Consent) -> Result<Self> {
        for tool in ["apt-get", "dpkg", "dpkg-query"] {
            if which(tool).is_none() {
                bail!("this host has no {tool}: what is missing can be set up on Debian only");
            }
        }
        Ok(Self { consent })
    }

    /// Installs those of `packages` that are not installed, after listing them
    /// with the reason and asking.
    pub fn install(self, why: &str, packages: &[&str]) -> Result<()> {
        let missing: Vec<&str> = packages
            .iter()
            .copied()
            .filter(|package| !is_installed(package))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let list = missing.join(" ");
        terminal::step(format_args!("{why} needs these Debian packages: {list}"));
        self.consent
            .permits(&list, std::io::stdin().is_terminal(), || {
                terminal::confirm("Install them with apt-get?")
            })?;
        let apt_get = |args: &[&str]| {
            let mut command = Command::new(if is_root() { "apt-get" } else { "sudo" });
            if !is_root() {
                command.arg("apt-get");
            }
            command.args(OPTIONS).args(args);
            command.env("DEBIAN_FRONTEND", "noninteractive");
            command
        };
        let add = || {
            let mut command = apt_get(&["--yes", "--no-install-recommends", "install"]);
            command.args(&missing).stdout(Stdio::null());
            command
        };
        // Fresh lists only where the present ones do not serve: they cost half a minute.
        run(add().stderr(Stdio::null())).or_else(|_| {
            run(&mut apt_get(&["update"]))?;
            run(&mut add())
        })
    }

    /// Downloads `packages` and unpacks them into `root`: nothing is installed,
    /// their scripts do not run.
    pub fn unpack(self, packages: &[&str], root: &Path) -> Result<()> {
        let debs = tempfile::tempdir().context("make a directory for packages")?;
        let download = || {
            let mut command = Command::new("apt-get");
            command
                .args(OPTIONS)
                .args(["-o", "APT::Sandbox::User=root", "download"])
                .args(packages)
                .current_dir(debs.path());
            command
        };
        if capture(&mut download()).is_err() {
            run(Command::new("apt-get").args(OPTIONS).arg("update"))?;
            capture(&mut download())?;
        }
        unpack_all(debs.path(), root)
    }
}

/// Unpacks every `.deb` of a directory into `root`.
pub fn unpack_all(debs: &Path, root: &Path) -> Result<()> {
    fs::create_dir_all(root).with_context(|| format!("make {}", root.display()))?;
    for entry in fs::read_dir(debs).with_context(|| format!("list {}", debs.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&path).arg(root))?;
        }
    }
    Ok(())
}

/// Of every call: wait for others' locks, no progress bars.
pub const OPTIONS: [&str; 3] = ["-qq", "-o", "DPkg::Lock::Timeout=600"];

fn is_installed(package: &str) -> bool {
    capture(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status.trim() == "installed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> io::Result<bool> {
        panic!("confirmed")
    }

    #[test]
    fn consent_given_needs_no_confirmation() {
        Consent::Given.permits("gcc", true, never).unwrap();
        Consent::Given.permits("gcc", false, never).unwrap();
    }

    #[test]
    fn only_yes_is_a_yes() {
        Consent::Confirm.permits("gcc", true, || Ok(true)).unwrap();
        Consent::Confirm
            .permits("gcc", true, || Ok(false))
            .unwrap_err();
    }

    #[test]
    fn without_a_terminal_the_error_has_the_command_to_run() {
        let error = Consent::Confirm
            .permits("gcc g++", false, never)
            .unwrap_err();
        assert!(
            error.to_string().contains("`apt-get install gcc g++`"),
            "{error}"
        );
        assert!(error.to_string().contains("--yes"), "{error}");
    }
}
