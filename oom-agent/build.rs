//! Takes in the BPF object that `cargo xtask build-ebpf` made.

use std::error::Error;
use std::path::PathBuf;

const OBJECT: &str = "OOM_AGENT_EBPF_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed={OBJECT}");
    let object = match std::env::var_os(OBJECT) {
        Some(object) => PathBuf::from(object),
        None => PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?)
            .join("../target/bpf/oom-agent-ebpf.o"),
    };
    println!("cargo:rerun-if-changed={}", object.display());
    let embedded = PathBuf::from(std::env::var("OUT_DIR")?).join("oom-agent-ebpf.o");
    if let Err(error) = std::fs::copy(&object, embedded) {
        println!(
            "cargo::error=the BPF object is not there yet: run `cargo xtask build-ebpf` once ({}: {error})",
            object.display()
        );
    }
    Ok(())
}
