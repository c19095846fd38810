//! `cargo xtask dist`: static release binaries in `dist/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::binaries::{RELEASE, build_static};
use crate::cross::{self, Board};
use crate::debian::Consent;
use crate::process::capture;
use crate::{build_ebpf, terminal, workspace};

const PROGRAMS: [&str; 2] = ["oom-agent", "bonker-gpio"];

/// Flags of the command.
#[derive(Debug, Clone, Copy, clap::Args)]
// The flattened one is called Args, too.
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    build: build_ebpf::Args,
    /// Build for a Raspberry Pi: bonker-gpio alone [default: both programs, for this machine]
    #[arg(long, value_enum)]
    target: Option<Board>,
}

/// Builds, checks that nothing is loaded at run time, and prints the sizes.
pub fn main(args: Args) -> Result<()> {
    match args.target {
        None => host(args.build),
        Some(board) => pi(board, args.build).map(drop),
    }
}

/// Both programs, for this machine.
pub fn host(args: build_ebpf::Args) -> Result<()> {
    build_ebpf::main(args)?;
    let built = build_static(RELEASE, &PROGRAMS)?;
    for program in PROGRAMS {
        ship(&built.join(program), program)?;
    }
    Ok(())
}

/// bonker-gpio alone, for this machine: where it lies.
pub fn bonker() -> Result<PathBuf> {
    Ok(build_static(RELEASE, &["bonker-gpio"])?.join("bonker-gpio"))
}

/// bonker-gpio for `board`: `dist/bonker-gpio-BOARD`, whose path is given.
pub fn pi(board: Board, args: build_ebpf::Args) -> Result<PathBuf> {
    let built = cross::bonker(board, args.toolchain, Consent::new(args.yes))?;
    ship(&built, &format!("bonker-gpio-{}", board.name()))
}

fn ship(built: &Path, name: &str) -> Result<PathBuf> {
    check_static(built)?;
    let out = dir();
    fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    let to = out.join(name);
    let size = fs::copy(built, &to).with_context(|| format!("copy to {}", to.display()))?;
    let mib = size / 104_858;
    terminal::line(format_args!(
        "dist/{name}  {}.{} MiB, static",
        mib / 10,
        mib % 10
    ));
    Ok(to)
}

/// Where they lie.
pub fn dir() -> PathBuf {
    workspace::root().join("dist")
}

/// Fails unless a program runs without anything beside it: one that is dynamic names an interpreter,
/// which is the dynamic loader.
pub(crate) fn check_static(program: &Path) -> Result<()> {
    // Of binutils, which linking takes, too; it reads other architectures' programs as well.
    let mut readelf = Command::new("readelf");
    let headers = capture(readelf.args(["--wide", "--program-headers"]).arg(program))?;
    if headers.contains("INTERP") {
        bail!(
            "{} is not static: it names an interpreter",
            program.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_makes_it_dynamic() {
        let this = std::env::current_exe().unwrap();
        let dynamic = cfg!(not(target_feature = "crt-static"));
        assert_eq!(check_static(&this).is_err(), dynamic);
    }

    #[test]
    fn what_is_no_program_is_not_static() {
        let script = tempfile::NamedTempFile::new().unwrap();
        fs::write(&script, "#!/bin/sh\n").unwrap();
        check_static(script.path()).unwrap_err();
    }
}
