//! Embeds the BPF object that `cargo xtask build-ebpf` builds.

use std::error::Error;
use std::path::PathBuf;

const OBJECT: &str = "OOM_AGENT_EBPF_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed={OBJECT}");
    let object = match std::env::var_os(OBJECT) {
        Some(object) => PathBuf::from(object),
        None => PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?)
            .join("../../target/bpf/oom-agent-ebpf.o"),
    };
    println!("cargo:rerun-if-changed={}", object.display());
    let embedded = PathBuf::from(std::env::var("OUT_DIR")?).join("oom-agent-ebpf.o");
    if let Err(error) = std::fs::copy(&object, embedded) {
        println!(
            "cargo::error=there is no BPF object: run `cargo xtask build-ebpf` once ({}: {error})",
            object.display()
        );
    }
    println!("cargo:rustc-env=OOM_AGENT_LAYOUT={:016x}", hash_layout()?);
    Ok(())
}

/// An agent reads the pinned maps of another build only if the code of these files is the same in both. Its FNV-1a
/// hash replaces a version number, which would be forgotten. Comments do not count.
fn hash_layout() -> Result<u64, Box<dyn Error>> {
    let source =
        PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../oom-agent-ebpf/src");
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for file in ["record.rs", "programs/maps.rs"] {
        let file = source.join(file);
        println!("cargo:rerun-if-changed={}", file.display());
        let text = std::fs::read_to_string(&file)?;
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for byte in code.flat_map(str::bytes) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(hash)
}
