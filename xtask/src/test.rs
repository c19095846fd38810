//! `cargo xtask test`: every tier this machine can run, cheapest first.

mod lint;
mod report;
mod tier;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum as _;

use crate::debian::Consent;
use crate::terminal;
use crate::workspace::is_ci;
use report::{Outcome, Report};
pub use tier::Tier;

/// Flags of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only what needs no root: lint and unit.
    #[arg(long, conflicts_with = "tiers")]
    pub quick: bool,
    /// Install what is missing without asking.
    #[arg(long)]
    pub yes: bool,
    /// Which tiers; all where none is named.
    #[arg(value_enum)]
    pub tiers: Vec<Tier>,
}

/// Runs the tiers in order and closes with a table and one line of totals.
pub fn main(args: &Args) -> Result<ExitCode> {
    let consent = Consent::new(args.yes);
    let mut report = Report::default();
    for &tier in Tier::value_variants() {
        let wanted = if args.quick {
            !tier.needs_root()
        } else {
            args.tiers.is_empty() || args.tiers.contains(&tier)
        };
        if !wanted {
            continue;
        }
        terminal::step(format_args!("tier {tier}"));
        let start = Instant::now();
        let outcome = tier::run(tier, consent).unwrap_or_else(|error| {
            terminal::error(&error);
            Outcome::ran(0, 1)
        });
        if let Outcome::Skipped(why) = &outcome {
            terminal::line(format_args!("!!! tier {tier} is skipped: {why}"));
        }
        report.add(tier, outcome, start.elapsed());
    }
    let (text, good) = report.close(is_ci());
    terminal::line(text);
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
