//! Where things lie in the clone.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root directory: the one with the lock file.
pub fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest
        .ancestors()
        .find(|dir| dir.join("Cargo.lock").exists());
    root.map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// Cargo's target directory for host builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Where `oom-agent` expects the eBPF object.
pub(crate) fn ebpf_object() -> PathBuf {
    root().join("target/bpf/oom-agent-ebpf.o")
}

/// The eBPF program that does nothing, for the benchmark.
pub fn bench_ebpf_object() -> PathBuf {
    root().join("target/bpf/bench.o")
}

/// The cargo that runs this xtask, in the workspace's root.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    // Cargo sets these for `cargo run`; builds that saw them would look different from a plain `cargo build`.
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&key);
        }
    }
    command
}

/// The program of that package, built where it is not up to date.
pub fn program(package: &str) -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", package, "--"]);
    command
}

/// Whether this runs unattended: `CI=true`.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
