//! `cargo xtask`: see `cargo xtask --help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{
    bench, bloat, build_ebpf, deb, demo, dist, guest, hog, image, load_ebpf, say, screenshots, test,
};

/// What the workspace needs done beyond cargo.
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
    /// Put every eBPF program through this kernel's verifier; attach nothing
    LoadEbpf(build_ebpf::Args),
    /// Have a real process OOM-killed, named by the agent and bonked for
    Demo(build_ebpf::Args),
    /// Build static release binaries in dist/
    Dist(dist::Args),
    /// Pack bonker-gpio into Debian packages for the Raspberry Pi, in dist/
    Deb(deb::Args),
    /// Pack the agent into a container image FROM scratch, in dist/
    Image(image::Args),
    /// Run every tier of tests that this machine can run
    Test(test::Args),
    /// Take the pictures of the bonker's page that the README shows
    Screenshots(screenshots::Args),
    /// Measure what this project promises, side by side with others
    Bench(bench::Args),
    /// Eat memory
    #[command(hide = true)]
    Hog(hog::Args),
    /// Be the application of `OOMHero`'s example pod
    #[command(hide = true)]
    Bloat,
    /// Be the first process of a virtual machine: run the cases of a tier, and power off
    #[command(hide = true)]
    Guest(guest::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Cmd::BuildEbpf(args) => build_ebpf::main(args).map(|()| ExitCode::SUCCESS),
        Cmd::LoadEbpf(args) => load_ebpf::main(args),
        Cmd::Demo(args) => demo::main(args).map(|()| ExitCode::SUCCESS),
        Cmd::Dist(args) => dist::main(args).map(|()| ExitCode::SUCCESS),
        Cmd::Deb(args) => deb::main(args).map(|()| ExitCode::SUCCESS),
        Cmd::Image(args) => image::main(args).map(|()| ExitCode::SUCCESS),
        Cmd::Test(args) => test::main(&args),
        Cmd::Screenshots(args) => screenshots::main(&args).map(|()| ExitCode::SUCCESS),
        Cmd::Bench(args) => bench::main(args).map(|()| ExitCode::SUCCESS),
        Cmd::Hog(args) => hog::main(args).map(|()| ExitCode::SUCCESS),
        Cmd::Bloat => bloat::main().map(|()| ExitCode::SUCCESS),
        Cmd::Guest(args) => guest::main(args).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        say::error(&error);
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_agree_with_each_other() {
        Cli::command().debug_assert();
    }
}
