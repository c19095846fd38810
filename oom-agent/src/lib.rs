//! The agent's rooms; `ARCHITECTURE.md` has the map.

pub mod args;
pub mod cgroup;
pub mod clock;
pub mod commands;
pub mod cri;
pub mod error_chain;
pub mod escape;
pub mod host;
pub mod incident;
pub mod k8s;
pub mod logging;
pub mod pipeline;
pub mod probe;
pub mod procfs;
pub mod sinks;
pub mod vmstat;

use std::error::Error;
use std::io;

pub use args::{Cli, Command};
pub use error_chain::chain;

/// Does what the command line says.
pub fn main(cli: Cli) -> Result<(), Box<dyn Error>> {
    match cli.command {
        Command::Run(args) => {
            logging::init(args.log_level, args.log_format)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(pipeline::run(args))?)
        }
        Command::Check => Ok(commands::check::run(io::stdout().lock())?),
        Command::Cgroup { paths } => Ok(commands::cgroup::run(
            &paths,
            io::stdin().lock(),
            io::BufWriter::new(io::stdout().lock()),
        )?),
    }
}
