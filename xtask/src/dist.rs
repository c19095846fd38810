//! `cargo xtask dist`: static release binaries in `dist/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::binaries::{static_cargo, static_target};
use crate::process::run;
use crate::{build_ebpf, say, workspace};

const PROGRAMS: [&str; 2] = ["oom-agent", "bonker-gpio"];

/// Builds, checks that nothing is loaded at run time, and tells the sizes.
pub fn main(args: build_ebpf::Args) -> Result<()> {
    build_ebpf::main(args)?;
    let target = static_target()?;
    say::step(format_args!(
        "building static release binaries for {target}"
    ));
    let mut command = static_cargo(&target);
    command.arg("--release");
    for program in PROGRAMS {
        command.args(["--package", program]);
    }
    run(&mut command)?;
    let out = dir();
    fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    for program in PROGRAMS {
        let built = workspace::target_dir()
            .join(&target)
            .join("release")
            .join(program);
        let bytes = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
        check_static(&built, &bytes)?;
        let to = out.join(program);
        fs::copy(&built, &to).with_context(|| format!("copy to {}", to.display()))?;
        let mib = bytes.len() / 104_858;
        say::line(format_args!(
            "dist/{program}  {}.{} MiB, static",
            mib / 10,
            mib % 10
        ));
    }
    Ok(())
}

/// Where they lie.
pub(crate) fn dir() -> PathBuf {
    workspace::root().join("dist")
}

/// Fails, naming `path`, unless `program` runs without anything beside it.
pub(crate) fn check_static(path: &Path, program: &[u8]) -> Result<()> {
    match is_static(program) {
        Some(true) => Ok(()),
        Some(false) => bail!("{} is not static: it names an interpreter", path.display()),
        None => bail!("{} is no ELF file of this host's", path.display()),
    }
}

/// Whether a 64-bit little-endian ELF file names no interpreter, which would be
/// the dynamic loader. `None`: no such file.
fn is_static(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let u16_at = |at: usize| {
        Some(u16::from_le_bytes(
            elf.get(at..at.checked_add(2)?)?.try_into().ok()?,
        ))
    };
    let u32_at = |at: usize| {
        Some(u32::from_le_bytes(
            elf.get(at..at.checked_add(4)?)?.try_into().ok()?,
        ))
    };
    let table = usize::try_from(u64::from_le_bytes(elf.get(0x20..0x28)?.try_into().ok()?)).ok()?;
    let (size, count) = (usize::from(u16_at(0x36)?), usize::from(u16_at(0x38)?));
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
