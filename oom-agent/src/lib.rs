//! The agent's rooms; `ARCHITECTURE.md` has the map.

mod act;
mod admin;
pub mod args;
mod commands;
mod controller;
mod cri;
mod enrich;
mod host;
mod incident;
mod k8s;
mod logging;
mod metrics;
mod no_victim;
mod node;
mod procfs;
mod proxy;
mod receipts;
mod report;
mod sidecar;
pub mod signals;
mod sinks;
mod size;
mod status_check;
mod warn;

use std::error::Error;
use std::io;

use clap::{CommandFactory as _, FromArgMatches as _};
use tracing_appender::non_blocking::ErrorCounter;

use args::Log;
pub use args::{Cli, Command};

/// Parses the command line. An empty environment variable counts as unset.
pub fn parse() -> Cli {
    let unset_if_empty = |arg: clap::Arg| {
        let empty = arg
            .get_env()
            .and_then(std::env::var_os)
            .is_some_and(|value| value.is_empty());
        if empty { arg.env(None::<&str>) } else { arg }
    };
    let command = Cli::command()
        .mut_args(unset_if_empty)
        .mut_subcommands(|subcommand| subcommand.mut_args(unset_if_empty));
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// Runs the command.
pub fn main(cli: Cli) -> Result<(), Box<dyn Error>> {
    match cli.command {
        Command::Run(args) => Ok(run_on_tokio(args.log, |log| node::run(*args, log))??),
        Command::WatchPods(args) => {
            let log_level = args::verbose(args.log.log_level, args.verbose);
            let log = Log {
                log_level,
                ..args.log
            };
            Ok(run_on_tokio(log, |log| controller::run(args, log))??)
        }
        Command::Sidecar(args) => Ok(run_on_tokio(args.log, |_| sidecar::run(args))??),
        Command::Unpin { pin } => Ok(commands::unpin::run(&pin, io::stdout().lock())?),
        Command::Check => Ok(commands::check::run(io::stdout().lock())?),
        Command::Cgroup { paths } => {
            let out = io::BufWriter::new(io::stdout().lock());
            match commands::cgroup::run(&paths, io::stdin().lock(), out) {
                // As in `| head -1`: the reader has closed.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                done => Ok(done?),
            }
        }
    }
}

/// Sets up the log; `work` gets the count of lines that it drops.
fn run_on_tokio<T, F: Future<Output = T>>(
    log: Log,
    work: impl FnOnce(ErrorCounter) -> F,
) -> Result<T, Box<dyn Error>> {
    let (dropped, _guard) = logging::init(log)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(work(dropped.clone()));
    // A thread that reads credentials may hang for ever.
    runtime.shutdown_background();
    let dropped = dropped.dropped_lines();
    if dropped > 0 {
        tracing::warn!(dropped, "log lines were dropped");
    }
    Ok(done)
}
