//! What `cargo xtask` starts of the lab, and what runs in its cgroups, containers and virtual machines.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lab::{bloat, demo, guest, hog, prepare, screenshots};

/// Starts the real systems that the demo and the tests run against.
#[derive(Debug, Parser)]
#[command(name = "lab", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Show the way of a real OOM kill, from the kernel to a simulated servo
    Demo(xtask::build_ebpf::Args),
    /// Take the screenshots of the bonker's page for the docs
    Screenshots(screenshots::Args),
    /// Set up what a tier of tests needs beside the programs
    Prepare(prepare::Args),
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
        Cmd::Demo(args) => demo::main(args),
        Cmd::Screenshots(args) => screenshots::main(&args),
        Cmd::Prepare(args) => prepare::main(args),
        Cmd::Hog(args) => hog::main(args),
        Cmd::Bloat => bloat::main(),
        Cmd::Guest(args) => guest::main(args),
    };
    xtask::terminal::exit_code(done.map(|()| ExitCode::SUCCESS))
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
