//! Flags of `calibrate`.

use std::path::PathBuf;

use clap::Args;

use super::ServoArgs;

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// Settings file that gets the pulses; created if there is none
    #[arg(long, env = "BONKER_CONFIG", value_name = "FILE")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) servo: ServoArgs,
}
