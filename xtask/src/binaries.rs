//! The workspace's own programs, built in the profile that the tests use, so
//! that nothing is compiled twice.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{capture, run, which};
use crate::{terminal, workspace};

/// Where they lie.
#[derive(Debug)]
pub struct Binaries {
    /// oom-agent.
    pub agent: PathBuf,
    /// bonker-gpio.
    pub bonker: PathBuf,
    /// The lab.
    pub lab: PathBuf,
}

/// Static builds for other kernels' machines and for images.
#[derive(Debug)]
pub(crate) struct StaticBinaries {
    /// oom-agent.
    pub agent: PathBuf,
    /// The lab.
    pub lab: PathBuf,
}

/// How static programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What is shipped.
    Release,
    /// As fast to build as can be, while an emulated CPU runs it in good time.
    Guest,
}

impl StaticBinaries {
    /// Builds them; the eBPF object must be there.
    pub(crate) fn build() -> Result<Self> {
        let dir = build_static(Profile::Guest, &["oom-agent", "lab"])?;
        Ok(Self {
            agent: dir.join("oom-agent"),
            lab: dir.join("lab"),
        })
    }
}

/// Builds `programs`, which then load nothing at run time, and returns their directory.
/// oom-agent needs the eBPF object to be there.
pub(crate) fn build_static(profile: Profile, programs: &[&str]) -> Result<PathBuf> {
    let target = static_target()?;
    let (names, profile_name) = (programs.join(", "), profile.name());
    terminal::step(format_args!(
        "building {names} for {target}, static, in profile {profile_name}"
    ));
    run(&mut static_cargo(&target, profile, programs))?;
    Ok(workspace::target_dir().join(&target).join(profile_name))
}

/// Builds the bonker alone, which takes no eBPF object.
pub fn bonker() -> Result<PathBuf> {
    terminal::step("building bonker-gpio");
    run(workspace::cargo().args(["build", "--package", "bonker-gpio", "--quiet"]))?;
    Ok(workspace::target_dir().join("debug/bonker-gpio"))
}

fn static_cargo(target: &str, profile: Profile, programs: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(["build", "--quiet", "--bins", "--target", target]);
    // By the target's own variable: build scripts and macros stay as they are.
    let variable = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        target.to_uppercase().replace('-', "_")
    );
    command.env(variable, "-Ctarget-feature=+crt-static");
    for setting in profile.settings() {
        command.args(["--config", &format!("profile.guest.{setting}")]);
    }
    command.args(["--profile", profile.name()]);
    for program in programs {
        command.args(["--package", program]);
    }
    command
}

/// musl where its target is installed, else the host's own libc linked statically.
fn static_target() -> Result<String> {
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
    Ok(host.context("a rustc that names its host")?.to_owned())
}

impl Binaries {
    /// Builds them; the eBPF object must be there.
    pub fn build() -> Result<Self> {
        terminal::step("building oom-agent, bonker-gpio and the lab");
        // The whole workspace: one set of features for every command here.
        run(workspace::cargo().args(["build", "--workspace", "--bins", "--quiet"]))?;
        let dir = workspace::target_dir().join("debug");
        Ok(Self {
            agent: dir.join("oom-agent"),
            bonker: dir.join("bonker-gpio"),
            lab: dir.join("lab"),
        })
    }
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Guest => "guest",
        }
    }

    /// Settings that Cargo.toml does not have.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Release => &[],
            Self::Guest => &[
                r#"inherits="release""#,
                "opt-level=1",
                r#"lto="off""#,
                "codegen-units=16",
                "incremental=true",
                r#"strip="symbols""#,
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_given_programs_are_built() {
        for profile in [Profile::Release, Profile::Guest] {
            let command = static_cargo("target", profile, &["bonker-gpio"]);
            let args: Vec<_> = command
                .get_args()
                .map(|arg| arg.to_str().unwrap())
                .collect();
            let packages = args.iter().filter(|arg| **arg == "--package").count();
            assert_eq!(packages, 1, "{args:?}");
            assert!(args.ends_with(&["--package", "bonker-gpio"]), "{args:?}");
            assert!(args.contains(&profile.name()), "{args:?}");
        }
    }
}
