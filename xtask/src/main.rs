//! `cargo xtask`: see `cargo xtask --help`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use xtask::{build_ebpf, deb, dist, image, process, terminal, test, workspace};

/// Builds, packages and tests the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Build the eBPF object, with a toolchain found or set up
    BuildEbpf(build_ebpf::Args),
    /// Check that this kernel accepts the eBPF programs
    LoadEbpf(build_ebpf::Args),
    /// Show the way of a real OOM kill, from the kernel to a simulated servo
    #[command(disable_help_flag = true)]
    Demo(Passed),
    /// Build static release binaries in dist/
    Dist(dist::Args),
    /// Pack bonker-gpio into Debian packages for the Raspberry Pi, in dist/
    Deb(deb::Args),
    /// Pack a container image FROM scratch, in dist/
    Image(image::Args),
    /// Run the tests: every tier that this machine can run
    Test(test::Args),
    /// Take the screenshots of the bonker's page for the docs
    #[command(disable_help_flag = true)]
    Screenshots(Passed),
    /// Run a benchmark beside other tools
    #[command(disable_help_flag = true)]
    Bench(Passed),
}

/// The arguments of another program.
#[derive(Debug, clap::Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Cmd::BuildEbpf(args) => build_ebpf::main(args).map(|()| ExitCode::SUCCESS),
        Cmd::LoadEbpf(args) => build_ebpf::load(args),
        Cmd::Demo(passed) => pass("lab", Some("demo"), passed),
        Cmd::Dist(args) => dist::main(args).map(|()| ExitCode::SUCCESS),
        Cmd::Deb(args) => deb::main(args).map(|()| ExitCode::SUCCESS),
        Cmd::Image(args) => image::main(args).map(|()| ExitCode::SUCCESS),
        Cmd::Test(args) => test::main(&args),
        Cmd::Screenshots(passed) => pass("lab", Some("screenshots"), passed),
        Cmd::Bench(passed) => pass("bench", None, passed),
    };
    terminal::exit_code(done)
}

/// Becomes the program of that package.
fn pass(package: &str, command: Option<&str>, passed: Passed) -> Result<ExitCode> {
    let mut program = workspace::program(package);
    program.args(command).args(passed.args);
    let error = program.exec();
    Err(error).with_context(|| format!("start {}", process::show(&program)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_agree_with_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_in_the_docs_parses() {
        let commands = xtask::docs::commands("cargo");
        let is_ours = |words: &&Vec<String>| words.get(1).is_some_and(|word| word == "xtask");
        let commands: Vec<_> = commands.iter().filter(is_ours).collect();
        assert!(commands.len() >= 10, "{commands:?}");
        for command in commands {
            if let Err(error) = Cli::try_parse_from(command.iter().skip(1)) {
                panic!("{command:?}: {error}");
            }
        }
    }
}
