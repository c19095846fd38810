//! `cargo xtask bench`: what this project promises, measured side by side with
//! what else there is. Never part of the tests: figures are of one machine, and
//! nobody's push should wait for them or fail by them.

mod capture;
mod figures;
mod footprint;
mod join;
mod kmsg;
mod page;
mod signals;
mod spin;
mod stamps;
mod stopwatch;
mod tool;
mod victim;

use anyhow::Result;

/// Flags of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, clap::Subcommand)]
enum Which {
    /// How soon, how fully and at what cost OOM kills are told of: this agent, bpftrace and a
    /// reader of the kernel's log, on the same kills
    Capture(capture::Args),
    /// Pass on what the kernel logs of OOM kills
    #[command(hide = true)]
    Kmsg,
    /// Send signals to oneself
    #[command(hide = true)]
    Signals(signals::Args),
}

/// Measures.
pub fn main(args: Args) -> Result<()> {
    match args.which {
        Which::Capture(args) => capture::main(&args),
        Which::Kmsg => kmsg::main(),
        Which::Signals(args) => signals::send(args),
    }
}
