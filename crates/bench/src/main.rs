//! `cargo xtask bench`: what this project promises, measured side by side with
//! what else there is. Never part of the tests: figures are of one machine, and
//! no push should wait for them or fail by them.

mod bonk;
mod bonker;
mod capture;
mod chaos;
mod checks;
mod clock;
mod compare;
mod figures;
mod flood;
mod footprint;
mod join;
mod kill_generator;
mod kmsg;
mod page;
mod pressure;
mod setup;
mod signals;
mod site;
mod stamps;
mod table;
mod tool;
mod victim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures the agent and the bonker beside other tools
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    version,
    about
)]
struct Cli {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Measure latency, completeness and cost of capture, beside bpftrace and a reader of the
    /// kernel's log
    Capture(capture::Args),
    /// Measure the time from a kill to the first pulse, beside Prometheus and Alertmanager
    Bonk(bonk::Args),
    /// Kill thousands of processes in a minute, and account for each
    Flood(flood::Args),
    /// Restart the agent and all it talks to under a stream of kills, and count what is lost or
    /// reported twice
    Chaos(chaos::Args),
    /// Connect thousands of clients to one bonker: answers, swings and cost
    Bonker(bonker::Args),
    /// Measure the cost of watching containers near their limits, beside ten polls a second of each
    Pressure(pressure::Args),
    /// Poll containers' cgroups
    #[command(hide = true)]
    Poll(pressure::PollArgs),
    /// Use more memory and less of it
    #[command(hide = true)]
    Breathe,
    /// Pass on what the kernel logs of OOM kills
    #[command(hide = true)]
    Kmsg,
    /// Send signals to itself
    #[command(hide = true)]
    Signals(signals::Args),
    /// Eat memory
    #[command(hide = true)]
    Hog(lab::hog::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().which {
        Which::Capture(args) => capture::main(&args),
        Which::Bonk(args) => bonk::main(&args),
        Which::Flood(args) => flood::main(&args),
        Which::Chaos(args) => chaos::main(&args),
        Which::Bonker(args) => bonker::main(&args),
        Which::Pressure(args) => pressure::main(&args),
        Which::Poll(args) => pressure::poll(&args),
        Which::Breathe => pressure::breathe(),
        Which::Kmsg => kmsg::main(),
        Which::Signals(args) => signals::send(args),
        Which::Hog(args) => lab::hog::main(args),
    };
    xtask::terminal::exit_code(done.map(|()| ExitCode::SUCCESS))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_agree_with_each_other() {
        Cli::command().debug_assert();
    }
}
