//! `cargo xtask dist`: static release binaries in `dist/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::binaries::{Profile, build_static};
use crate::cross::{self, Board};
use crate::debian::Consent;
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
    let built = build_static(Profile::Release, &PROGRAMS)?;
    for program in PROGRAMS {
        ship(&built.join(program), program)?;
    }
    Ok(())
}

/// bonker-gpio alone, for this machine: where it lies.
pub fn bonker() -> Result<PathBuf> {
    Ok(build_static(Profile::Release, &["bonker-gpio"])?.join("bonker-gpio"))
}

/// bonker-gpio for `board`: `dist/bonker-gpio-BOARD`, whose path is given.
pub fn pi(board: Board, args: build_ebpf::Args) -> Result<PathBuf> {
    let built = cross::bonker(board, args.toolchain, Consent::new(args.yes))?;
    ship(&built, &format!("bonker-gpio-{}", board.name()))
}

fn ship(built: &Path, name: &str) -> Result<PathBuf> {
    let bytes = fs::read(built).with_context(|| format!("read {}", built.display()))?;
    check_static(built, &bytes)?;
    let out = dir();
    fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    let to = out.join(name);
    fs::copy(built, &to).with_context(|| format!("copy to {}", to.display()))?;
    let mib = bytes.len() / 104_858;
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

/// Fails, naming `path`, unless `program` runs without anything beside it.
pub(crate) fn check_static(path: &Path, program: &[u8]) -> Result<()> {
    match is_static(program) {
        Some(true) => Ok(()),
        Some(false) => bail!("{} is not static: it names an interpreter", path.display()),
        None => bail!("{} is no ELF file, or a big-endian one", path.display()),
    }
}

/// Whether a little-endian ELF file names no interpreter, which would be the dynamic loader.
/// `None`: no such file. The layouts of 32 and 64 bits are in elf(5).
fn is_static(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    fn at<const N: usize>(elf: &[u8], at: usize) -> Option<[u8; N]> {
        elf.get(at..at.checked_add(N)?)?.try_into().ok()
    }
    let u16_at = |place| at(elf, place).map(u16::from_le_bytes);
    let u32_at = |place| at(elf, place).map(u32::from_le_bytes);
    let (table, sizes) = match elf.get(..6)? {
        b"\x7fELF\x01\x01" => (u64::from(u32_at(0x1c)?), 0x2a),
        b"\x7fELF\x02\x01" => (u64::from_le_bytes(at(elf, 0x20)?), 0x36),
        _ => return None,
    };
    let table = usize::try_from(table).ok()?;
    let (size, count) = (usize::from(u16_at(sizes)?), usize::from(u16_at(sizes + 2)?));
    for index in 0..count {
        if u32_at(table.checked_add(index.checked_mul(size)?)?)? == PT_INTERP {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[0x20] = 64;
        bytes[0x36] = 56;
        bytes[0x38] = u8::try_from(kinds.len()).unwrap();
        for kind in kinds {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 52]);
        }
        bytes
    }

    #[test]
    fn an_interpreter_makes_it_dynamic() {
        assert_eq!(is_static(&elf(&[1, 2, 1])), Some(true));
        assert_eq!(is_static(&elf(&[6, 3, 1])), Some(false));
    }

    #[test]
    fn an_interpreter_is_seen_in_32_bits_too() {
        let check = |kind: u32, expect| {
            let mut bytes = vec![0; 52];
            bytes[..6].copy_from_slice(b"\x7fELF\x01\x01");
            (bytes[0x1c], bytes[0x2a], bytes[0x2c]) = (52, 32, 1);
            bytes.extend(kind.to_le_bytes());
            assert_eq!(is_static(&bytes), Some(expect), "{kind}");
        };
        check(1, true);
        check(3, false);
    }

    #[test]
    fn any_bytes_are_answered() {
        assert_eq!(is_static(b""), None);
        assert_eq!(is_static(b"#!/bin/sh\n"), None);
        let whole = elf(&[1, 1]);
        for cut in 0..whole.len() - 56 {
            assert_eq!(is_static(&whole[..cut]), None, "{cut}");
        }
        let mut far = elf(&[1]);
        far[0x20..0x28].fill(0xff);
        assert_eq!(is_static(&far), None);
    }

    #[test]
    fn this_test_is_dynamic() {
        let this = fs::read(std::env::current_exe().unwrap()).unwrap();
        let dynamic = cfg!(not(target_feature = "crt-static"));
        assert_eq!(is_static(&this), Some(!dynamic));
    }
}
