//! Which compiler and linker build for other targets than this machine's own: the eBPF object, and
//! programs for a Raspberry Pi.

mod linker;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::debian::{Consent, Debian};
use crate::process::{bounded, capture, which};
use crate::{terminal, workspace};

/// The nightly that the object is known to build with.
const PINNED_NIGHTLY: &str = "nightly-2026-05-20";
/// How long rustup may try to fetch: some networks swallow packets.
const FETCH_LIMIT: Duration = Duration::from_mins(3);

/// Which compiler to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// The pinned nightly where it is or can be had, else Debian's rustc.
    Auto,
    /// The pinned nightly, by rustup.
    Nightly,
    /// Debian's rustc-web with its library source.
    Debian,
}

/// A cargo for the eBPF object, with a linker that reads its compiler's bitcode, and why these were taken.
pub(crate) fn ebpf_cargo(choice: Choice, consent: Consent) -> Result<(Command, String)> {
    let (compiler, why) = Compiler::find_or_set_up(choice, consent)?;
    let (linker, why_linker) = linker::find_or_build(compiler.llvm, consent)?;
    let dir = linker.parent().context("a linker in a directory")?;
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let inherited = std::env::split_paths(&inherited);
    let path = std::env::join_paths([dir.to_owned()].into_iter().chain(inherited));
    let mut cargo = compiler.cargo();
    cargo.env("PATH", path.context("make a PATH")?);
    Ok((cargo, format!("{why}; {why_linker}")))
}

/// A compiler with its library's source: `-Zbuild-std` makes a standard library of it for any target.
#[derive(Debug)]
pub(crate) struct Compiler {
    rustc: PathBuf,
    cargo: PathBuf,
    llvm: u32,
}

impl Compiler {
    /// One that is there or can be had, and why it was taken.
    pub(crate) fn find_or_set_up(choice: Choice, consent: Consent) -> Result<(Self, String)> {
        let mut why = "wanted".to_owned();
        if choice != Choice::Debian {
            match Self::nightly() {
                Ok(found) => {
                    return Ok((found, format!("{PINNED_NIGHTLY}: installed, with rust-src")));
                }
                Err(error) => why = format!("{error:#}"),
            }
            if choice == Choice::Auto
                && let Ok(found) = Self::debian()
            {
                return Ok((found, format!("Debian's rustc: installed, and {why}")));
            }
            match fetch_nightly().and_then(|()| Self::nightly()) {
                Ok(found) => return Ok((found, format!("{PINNED_NIGHTLY}: fetched by rustup"))),
                Err(error) if choice == Choice::Nightly => return Err(error),
                Err(error) => why = format!("{PINNED_NIGHTLY} cannot be had ({error:#})"),
            }
        }
        let debian = Debian::new(consent).with_context(|| why.clone())?;
        let packages = ["rustc-web", "cargo-web", "rust-web-src"];
        debian.install("Debian's rustc, to build for another target,", &packages)?;
        Ok((Self::debian()?, format!("Debian's rustc: {why}")))
    }

    /// Its cargo, with nothing of the host build's in its environment.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        for key in [
            "CARGO",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            "CARGO_BUILD_TARGET",
            "CARGO_TARGET_DIR",
        ] {
            command.env_remove(key);
        }
        command
            .env("RUSTC", &self.rustc)
            // Debian's rustc is a release: build-std is a nightly's feature.
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(workspace::root());
        command
    }

    fn nightly() -> Result<Self> {
        let which = |tool| {
            // Never lets rustup fetch in passing: that is another step, with a bound.
            let path = capture(
                Command::new("rustup")
                    .args(["which", "--toolchain", PINNED_NIGHTLY, tool])
                    .env("RUSTUP_AUTO_INSTALL", "0")
                    .env("RUST_BACKTRACE", "0"),
            )
            .with_context(|| format!("{PINNED_NIGHTLY} is not installed"))
            .map_err(|error| anyhow::anyhow!("{error}"))?;
            anyhow::Ok(PathBuf::from(path.trim()))
        };
        Self::check(which("rustc")?, which("cargo")?)
    }

    fn debian() -> Result<Self> {
        Self::check("/usr/bin/rustc".into(), "/usr/bin/cargo".into())
    }

    fn check(rustc: PathBuf, cargo: PathBuf) -> Result<Self> {
        let sysroot = capture(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml");
        if !source.exists() {
            bail!("{} is without its library's source", rustc.display());
        }
        if !cargo.exists() {
            bail!("{} is without a cargo", rustc.display());
        }
        let version = capture(Command::new(&rustc).arg("-vV"))?;
        let llvm = llvm_major(&version)
            .with_context(|| format!("{} does not name its LLVM", rustc.display()))?;
        if !linker::LLVMS.contains(&llvm) {
            bail!("no bpf-linker for LLVM {llvm} of {}", rustc.display());
        }
        Ok(Self { rustc, cargo, llvm })
    }
}

/// Lets rustup fetch the pinned nightly; its output is shown only in the error.
fn fetch_nightly() -> Result<()> {
    if which("rustup").is_none() {
        bail!("there is no rustup");
    }
    terminal::step(format_args!("letting rustup fetch {PINNED_NIGHTLY}"));
    let install = [
        "toolchain",
        "install",
        PINNED_NIGHTLY,
        "--profile=minimal",
        "--component=rust-src",
        "--no-self-update",
    ];
    let mut rustup = bounded(FETCH_LIMIT, "rustup");
    capture(rustup.args(install).env("RUST_BACKTRACE", "0")).map(drop)
}

/// The major version in `rustc -vV`'s line on LLVM.
fn llvm_major(version: &str) -> Option<u32> {
    let line = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_compiler() {
        let debian = "rustc 1.96.0 (ac68faa20 2026-05-25)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(llvm_major(debian), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
        assert_eq!(llvm_major("LLVM version: new\n"), None);
    }
}
