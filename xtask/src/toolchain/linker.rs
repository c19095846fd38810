//! A bpf-linker that reads the bitcode of the compiler in use.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cache::Cache;
use crate::debian::{Consent, Debian};
use crate::process::which;

/// The release to build; each fits a few LLVMs.
const VERSION: &str = "0.13.0";
/// The LLVMs which that release can be built for.
pub(super) const LLVMS: [u32; 3] = [21, 22, 23];

/// A bpf-linker for that LLVM, and why this one.
pub(super) fn find_or_build(llvm: u32, consent: Consent) -> Result<(PathBuf, String)> {
    let cache = Cache::open()?;
    let name = format!("bpf-linker-{VERSION}-llvm-{llvm}");
    let config = format!("/usr/lib/llvm-{llvm}");
    if cache.get(&name).is_none() {
        if let Some(path) = which("bpf-linker")
            && fs::read(&path).is_ok_and(|bytes| links_llvm(&bytes, llvm))
        {
            let why = format!("bpf-linker on PATH: it reads LLVM {llvm}, as this rustc does");
            return Ok((path, why));
        }
        if !Path::new(&config).join("bin/llvm-config").exists() || which("cc").is_none() {
            let dev = [format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")];
            let mut packages: Vec<&str> = dev.iter().map(String::as_str).collect();
            packages.extend(["zlib1g-dev", "libzstd-dev", "gcc", "libc6-dev"]);
            Debian::new(consent)?.install(&format!("bpf-linker for LLVM {llvm}"), &packages)?;
        }
    }
    let feature = format!("--features=llvm-{llvm}");
    let path = std::env::var("PATH").unwrap_or_default();
    let dir = cache.install("bpf-linker", VERSION, &name, |cargo| {
        cargo
            .args(["--no-default-features", &feature])
            .env("LLVM_PREFIX", &config)
            .env("PATH", format!("{config}/bin:{path}"));
    })?;
    let why = format!("bpf-linker {VERSION} for LLVM {llvm}: built for this machine");
    Ok((dir.join("bin/bpf-linker"), why))
}

/// Whether a program is linked against the shared LLVM of that major version.
/// A bpf-linker that carries its LLVM within does not name it.
fn links_llvm(program: &[u8], major: u32) -> bool {
    [
        format!("libLLVM.so.{major}."),
        format!("libLLVM-{major}.so"),
    ]
    .iter()
    .any(|name| {
        program
            .windows(name.len())
            .any(|window| window == name.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_linker() {
        let elf = b"\x7fELF\0libstdc++.so.6\0libLLVM.so.22.1\0libc.so.6\0";
        assert!(links_llvm(elf, 22));
        assert!(!links_llvm(elf, 2));
        assert!(!links_llvm(elf, 21));
        assert!(links_llvm(b"\0libLLVM-14.so.1\0", 14));
        assert!(!links_llvm(b"", 14));
    }
}
