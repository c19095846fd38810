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

impl Board {
    /// As the flag takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::Armv6 => "armv6",
        }
    }

    fn triple(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            // Soft float, as the only libc is that Debian has for an ARMv6: armel's, of ARMv5.
            Self::Armv6 => "arm-unknown-linux-gnueabi",
        }
    }

    fn gcc(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-linux-gnu-gcc",
            Self::Armv6 => "arm-linux-gnueabi-gcc",
        }
    }

    fn packages(self) -> [&'static str; 2] {
        match self {
            Self::Aarch64 => ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
            Self::Armv6 => ["gcc-arm-linux-gnueabi", "libc6-dev-armel-cross"],
        }
    }

    /// What the builds of cargo and of C read, for this target alone.
    fn environment(self) -> [(String, &'static str); 3] {
        let lower = self.triple().replace('-', "_");
        let upper = lower.to_uppercase();
        [
            (format!("CARGO_TARGET_{upper}_LINKER"), self.gcc()),
            (
                format!("CARGO_TARGET_{upper}_RUSTFLAGS"),
                "-Ctarget-feature=+crt-static",
            ),
            (format!("CC_{lower}"), self.gcc()),
        ]
    }
}

/// Builds bonker-gpio for `board`, and gives its path.
pub fn bonker(board: Board, choice: Choice, consent: Consent) -> Result<PathBuf> {
    let (compiler, why) = Compiler::find_or_set_up(choice, consent)?;
    Debian::new(consent)?.install(&format!("building for {}", board.name()), &board.packages())?;
    let triple = board.triple();
    terminal::step(format_args!(
        "building a static bonker-gpio for {triple} with {why}"
    ));
    // Apart from the host's: another compiler's artefacts would be thrown away, and these with them.
    let dir = workspace::root().join("target/pi");
    run(compiler
        .cargo()
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--package", "bonker-gpio", "--target", triple])
        .args(["-Zbuild-std=std,panic_abort", "--target-dir"])
        .arg(&dir)
        .envs(board.environment()))?;
    Ok(dir.join(triple).join("release/bonker-gpio"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_those_that_cargo_and_cc_read() {
        let [linker, flags, cc] = Board::Armv6.environment();
        let gcc = "arm-linux-gnueabi-gcc";
        let names = "CARGO_TARGET_ARM_UNKNOWN_LINUX_GNUEABI";
        assert_eq!(linker, (format!("{names}_LINKER"), gcc));
        assert_eq!(flags.0, format!("{names}_RUSTFLAGS"));
        assert_eq!(cc, ("CC_arm_unknown_linux_gnueabi".to_owned(), gcc));
    }
}
