//! The workspace's own programs, built in the profile that the tests use, so
//! that nothing is compiled twice; and static ones.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{capture, run, which};
use crate::{terminal, workspace};

/// The profile of what is shipped.
pub(crate) const RELEASE: &str = "release";
/// The profile of static programs for tests.
pub(crate) const GUEST: &str = "guest";

/// Builds oom-agent, bonker-gpio and the lab, and returns their directory; the eBPF object must be there.
pub fn build() -> Result<PathBuf> {
    terminal::step("building oom-agent, bonker-gpio and the lab");
    // The whole workspace: one set of features for every command here.
    run(workspace::cargo().args(["build", "--workspace", "--bins", "--quiet"]))?;
    Ok(workspace::target_dir().join("debug"))
}

/// Builds the bonker alone, which takes no eBPF object.
pub fn bonker() -> Result<PathBuf> {
    terminal::step("building bonker-gpio");
    run(workspace::cargo().args(["build", "--package", "bonker-gpio", "--quiet"]))?;
    Ok(workspace::target_dir().join("debug/bonker-gpio"))
}

/// Builds `programs`, which then load nothing at run time, and returns their directory.
/// oom-agent needs the eBPF object to be there.
pub(crate) fn build_static(profile: &str, programs: &[&str]) -> Result<PathBuf> {
    let target = static_target()?;
    let names = programs.join(", ");
    terminal::step(format_args!(
        "building {names} for {target}, static, in profile {profile}"
    ));
    run(&mut static_cargo(&target, profile, programs))?;
    Ok(workspace::target_dir().join(&target).join(profile))
}

fn static_cargo(target: &str, profile: &str, programs: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(["build", "--quiet", "--bins", "--target", target]);
    // By the target's own variable: build scripts and macros stay as they are.
    let variable = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        target.to_uppercase().replace('-', "_")
    );
    command.env(variable, "-Ctarget-feature=+crt-static");
    command.args(["--profile", profile]);
    for program in programs {
        command.args(["--package", program]);
    }
    command
}

/// musl where its target is installed, else the host's own libc linked statically.
fn static_target() -> Result<String> {
    let rustc = |args: &[&str]| {
        let mut rustc = Command::new("rustc");
        capture(rustc.args(args).current_dir(workspace::root()))
    };
    let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let sysroot = rustc(&["--print", "sysroot"])?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(&musl);
    // C in dependencies wants a compiler for musl too.
    if library.exists() && which("musl-gcc").is_some() {
        return Ok(musl);
    }
    let version = rustc(&["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("a rustc that names its host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_given_programs_are_built() {
        for profile in [RELEASE, GUEST] {
            let command = static_cargo("target", profile, &["bonker-gpio"]);
            let args: Vec<_> = command
                .get_args()
                .map(|arg| arg.to_str().unwrap())
                .collect();
            let packages = args.iter().filter(|arg| **arg == "--package").count();
            assert_eq!(packages, 1, "{args:?}");
            assert!(args.ends_with(&["--package", "bonker-gpio"]), "{args:?}");
            assert!(args.contains(&profile), "{args:?}");
        }
    }
}
