//! Static programs for a Raspberry Pi, built on any Debian machine.
//!
//! The standard library is built from its source, since no Rust that Debian packages has one for
//! an `ARMv6`; C, and the linking against a static libc, is Debian's cross gcc's.

use std::path::PathBuf;

use anyhow::Result;

use crate::debian::{Consent, Debian};
use crate::process::run;
use crate::toolchain::{Choice, Compiler};
use crate::{terminal, workspace};

/// A kind of Raspberry Pi.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Board {
    /// 64 bits: Pi 3 and later, Zero 2 W.
    Aarch64,
    /// 32 bits, the Pi 1 and Zero too.
    Armv6,
}

/// What it takes to build for one.
pub(crate) struct Target {
    name: &'static str,
    triple: &'static str,
    gcc: &'static str,
    packages: [&'static str; 2],
    /// What the Pi's own dpkg calls itself, see `docs/adr/0016`.
    pub(crate) debian: &'static str,
}

impl Board {
    /// As the flag takes it.
    pub fn name(self) -> &'static str {
        self.target().name
    }

    pub(crate) fn target(self) -> Target {
        match self {
            Self::Aarch64 => Target {
                name: "aarch64",
                triple: "aarch64-unknown-linux-gnu",
                gcc: "aarch64-linux-gnu-gcc",
                packages: ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
                debian: "arm64",
            },
            Self::Armv6 => Target {
                name: "armv6",
                // Soft float, as the only libc is that Debian has for an ARMv6: armel's, of ARMv5.
                triple: "arm-unknown-linux-gnueabi",
                gcc: "arm-linux-gnueabi-gcc",
                packages: ["gcc-arm-linux-gnueabi", "libc6-dev-armel-cross"],
                debian: "armhf",
            },
        }
    }
}

impl Target {
    /// What the builds of cargo and of C read, for this target alone.
    fn environment(&self) -> [(String, &'static str); 3] {
        let lower = self.triple.replace('-', "_");
        let upper = lower.to_uppercase();
        let rustflags = "-Ctarget-feature=+crt-static";
        [
            (format!("CARGO_TARGET_{upper}_LINKER"), self.gcc),
            (format!("CARGO_TARGET_{upper}_RUSTFLAGS"), rustflags),
            (format!("CC_{lower}"), self.gcc),
        ]
    }
}

/// Builds bonker-gpio for `board`, and gives its path.
pub fn bonker(board: Board, choice: Choice, consent: Consent) -> Result<PathBuf> {
    let (compiler, chosen) = Compiler::find_or_set_up(choice, consent)?;
    let target = board.target();
    let why = format!("building for {}", target.name);
    Debian::new(consent)?.install(&why, &target.packages)?;
    let triple = target.triple;
    terminal::step(format_args!(
        "building a static bonker-gpio for {triple} with {chosen}"
    ));
    // Apart from the host's: another compiler's artefacts would be thrown away, and these with them.
    let dir = workspace::root().join("target/pi");
    run(compiler
        .cargo()
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--package", "bonker-gpio", "--target", triple])
        .args(["-Zbuild-std=std,panic_abort", "--target-dir"])
        .arg(&dir)
        .envs(target.environment()))?;
    Ok(dir.join(triple).join("release/bonker-gpio"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_those_that_cargo_and_cc_read() {
        let [linker, flags, cc] = Board::Armv6.target().environment();
        let gcc = "arm-linux-gnueabi-gcc";
        let names = "CARGO_TARGET_ARM_UNKNOWN_LINUX_GNUEABI";
        assert_eq!(linker, (format!("{names}_LINKER"), gcc));
        assert_eq!(flags.0, format!("{names}_RUSTFLAGS"));
        assert_eq!(cc, ("CC_arm_unknown_linux_gnueabi".to_owned(), gcc));
    }
}
