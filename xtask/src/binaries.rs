//! The workspace's own programs, built in the profile that the tests use, so
//! that nothing is compiled twice.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{capture, run, which};
use crate::{say, workspace};

/// Where they lie.
#[derive(Debug)]
pub struct Binaries {
    /// oom-agent.
    pub agent: PathBuf,
    /// bonker-gpio.
    pub bonker: PathBuf,
}

/// Static builds for other kernels' machines and for images: the agent, the bonker, and this
/// program.
#[derive(Debug)]
pub struct StaticBinaries {
    /// oom-agent.
    pub agent: PathBuf,
    /// bonker-gpio.
    pub bonker: PathBuf,
    /// The lab.
    pub lab: PathBuf,
}

impl StaticBinaries {
    /// Builds them; the eBPF object must be there.
    pub fn build() -> Result<Self> {
        let target = static_target()?;
        say::step(format_args!("building static test binaries for {target}"));
        let mut command = static_cargo(&target);
        // As fast to build as can be, while an emulated CPU runs it in good time.
        for setting in [
            r#"inherits="release""#,
            "opt-level=1",
            r#"lto="off""#,
            "codegen-units=16",
            "incremental=true",
            r#"strip="symbols""#,
        ] {
            command.args(["--config", &format!("profile.guest.{setting}")]);
        }
        command.args(["--profile", "guest", "--bins"]);
        for program in ["oom-agent", "bonker-gpio", "lab"] {
            command.args(["--package", program]);
        }
        run(&mut command)?;
        let dir = workspace::target_dir().join(&target).join("guest");
        Ok(Self {
            agent: dir.join("oom-agent"),
            bonker: dir.join("bonker-gpio"),
            lab: dir.join("lab"),
        })
    }
}

/// Builds the bonker alone, which takes no eBPF object.
pub fn bonker() -> Result<PathBuf> {
    say::step("building bonker-gpio");
    run(workspace::cargo().args(["build", "--package", "bonker-gpio", "--quiet"]))?;
    Ok(workspace::target_dir().join("debug/bonker-gpio"))
}

/// `cargo build` of programs that load nothing at run time.
pub fn static_cargo(target: &str) -> Command {
    let mut command = workspace::cargo();
    command.args(["build", "--quiet", "--target", target]);
    // By the target's own variable: build scripts and macros stay as they are.
    let variable = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        target.to_uppercase().replace('-', "_")
    );
    command.env(variable, "-Ctarget-feature=+crt-static");
    command
}

/// musl where its target is installed, else the host's own libc linked statically.
pub fn static_target() -> Result<String> {
    let arch = std::env::consts::ARCH;
    let musl = format!("{arch}-unknown-linux-musl");
    let sysroot = capture(
        Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir(workspace::root()),
    )?;
    let library = std::path::Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(&musl);
    // C in dependencies wants a compiler for musl too.
    if library.exists() && which("musl-gcc").is_some() {
        return Ok(musl);
    }
    let version = capture(
        Command::new("rustc")
            .arg("-vV")
            .current_dir(workspace::root()),
    )?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("a rustc that tells its host")?.to_owned())
}

impl Binaries {
    /// Builds both; the eBPF object must be there.
    pub fn build() -> Result<Self> {
        say::step("building oom-agent and bonker-gpio");
        // The whole workspace: one set of features for every command here.
        run(workspace::cargo().args(["build", "--workspace", "--bins", "--quiet"]))?;
        let dir = workspace::target_dir().join("debug");
        Ok(Self {
            agent: dir.join("oom-agent"),
            bonker: dir.join("bonker-gpio"),
        })
    }
}
