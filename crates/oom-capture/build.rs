//! Takes in the BPF object that `cargo xtask build-ebpf` made.

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
            "cargo::error=the BPF object is not there yet: run `cargo xtask build-ebpf` once ({}: {error})",
            object.display()
        );
    }
    let layout = layout()?;
    println!("cargo:rustc-env=OOM_AGENT_LAYOUT={layout:016x}");
    Ok(())
}

/// What one build's programs leave in pinned maps another's agent reads only where these files are
/// the same: FNV-1a of their text, so that nobody has to remember to count a version up.
fn layout() -> Result<u64, Box<dyn Error>> {
    let source =
        PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../oom-agent-ebpf/src");
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for file in ["record.rs", "programs/maps.rs"] {
        let file = source.join(file);
        println!("cargo:rerun-if-changed={}", file.display());
        for byte in std::fs::read(&file)? {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(hash)
}
