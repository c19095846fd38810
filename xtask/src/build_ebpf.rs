//! `cargo xtask build-ebpf`: the eBPF object, built where `oom-agent` finds it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::debian::Consent;
use crate::process::{is_root, run};
use crate::toolchain::{Choice, ebpf_cargo};
use crate::{binaries, terminal, workspace};

/// Flags of the command.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// Install what is missing without asking.
    #[arg(long)]
    pub yes: bool,
    /// Which compiler to take.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub toolchain: Choice,
}

/// Builds the object with a toolchain found or set up, and names it.
pub fn main(args: Args) -> Result<()> {
    let (mut cargo, why) = ebpf_cargo(args.toolchain, Consent::new(args.yes))?;
    terminal::step(format_args!("building the eBPF object with {why}"));
    let target = if cfg!(target_endian = "big") {
        "bpfeb-unknown-none"
    } else {
        "bpfel-unknown-none"
    };
    let target_dir = workspace::root().join("target/ebpf");
    let arch = std::env::consts::ARCH;
    let flags = [
        &format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
    ];
    run(cargo
        .args(["build", "--quiet", "--bins", "--release"])
        .args(["--package", "oom-agent-ebpf"])
        .args(["-Zbuild-std=core", "--target", target, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")))?;
    let release = target_dir.join(target).join("release");
    publish(&release.join("bench"), &workspace::bench_ebpf_object())?;
    let object = workspace::ebpf_object();
    let fresh = publish(&release.join("oom-agent-ebpf"), &object)?;
    let state = if fresh { "new" } else { "unchanged" };
    let shown = object.strip_prefix(workspace::root()).unwrap_or(&object);
    terminal::line(format_args!("{} ({state})", shown.display()));
    Ok(())
}

/// `cargo xtask load-ebpf`: every program through the running kernel's verifier, by `oom-agent check`.
pub fn load(args: Args) -> Result<ExitCode> {
    if !is_root() {
        bail!("load-ebpf needs root: the kernel verifies programs for root only");
    }
    main(args)?;
    let agent = binaries::build()?.join("oom-agent");
    let status = Command::new(&agent).arg("check").status();
    let status = status.with_context(|| format!("start {}", agent.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Copies in one step, and only where the contents differ: a reader never
/// sees half a file, and cargo does not rebuild for nothing. Whether it did.
fn publish(from: &Path, to: &Path) -> Result<bool> {
    let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    if fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    let dir = to.parent().context("an object in a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let mut file = tempfile::Builder::new()
        // All who may read the clone may build with it.
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(dir)
        .with_context(|| format!("make a file in {}", dir.display()))?;
    file.write_all(&bytes)
        .with_context(|| format!("write {}", file.path().display()))?;
    file.persist(to)
        .with_context(|| format!("replace {}", to.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_object_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("deep/b"));
        fs::write(&from, "one").unwrap();
        assert!(publish(&from, &to).unwrap());
        assert!(!publish(&from, &to).unwrap());
        fs::write(&from, "two").unwrap();
        assert!(publish(&from, &to).unwrap());
        assert_eq!(fs::read_to_string(&to).unwrap(), "two");
        let mode = fs::metadata(&to).unwrap().permissions().mode();
        assert_eq!(mode & 0o444, 0o444, "{mode:o}");
    }
}
