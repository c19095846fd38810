//! `oom-agent`: see `oom-agent --help`.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match oom_agent::main(oom_agent::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; the exit code stands.
            let _closed = writeln!(
                std::io::stderr(),
                "oom-agent: {}",
                service::error_chain::chain(error.as_ref())
            );
            ExitCode::FAILURE
        }
    }
}
