//! The tier `lint`: format, clippy, each program by itself, and the dependencies' licences and sources.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::Tier;
use super::report::Outcome;
use crate::cache::Cache;
use crate::process::{capture, run, which};
use crate::{terminal, workspace};

const CARGO_DENY: &str = "0.20.2";

/// Each check is one test.
pub(super) fn run_all() -> Result<Outcome> {
    let mut outcome = Outcome::ran(0, 0);
    let clippy = |targets: &[&str]| {
        let mut clippy = workspace::cargo();
        clippy.args(["clippy", "--workspace", "--quiet"]);
        clippy.args(targets).args(["--", "-D", "warnings"]);
        clippy
    };
    // Theirs are no targets of cargo's own choice, so `--all-targets` leaves them out.
    let tiers = Tier::ALL.into_iter().filter(|tier| tier.has_target());
    let tiers: Vec<&str> = tiers.flat_map(|tier| ["--test", tier.name()]).collect();
    outcome = outcome.and(check(workspace::cargo().args(["fmt", "--all", "--check"])));
    outcome = outcome.and(check(&mut clippy(&["--all-targets"])));
    outcome = outcome.and(check(&mut clippy(&tiers)));
    // Together, and with their tests, they have features of dependencies that none enables
    // itself. So each is built when it is installed.
    for program in ["oom-agent", "bonker-gpio", "xtask"] {
        let args = ["check", "--quiet", "--package", program];
        outcome = outcome.and(check(workspace::cargo().args(args)));
    }
    let deny = cargo_deny()?;
    // It reads every platform's dependencies; the builds fetched this one's.
    run(workspace::cargo().args(["fetch", "--quiet"]))?;
    Ok(outcome.and(check(
        Command::new(deny)
            .args([
                "--offline",
                "check",
                "--hide-inclusion-graph",
                "bans",
                "licenses",
                "sources",
            ])
            .current_dir(workspace::root()),
    )))
}

fn check(command: &mut Command) -> Outcome {
    let done = run(command);
    if let Err(error) = &done {
        terminal::error(error);
    } else {
        terminal::line(format_args!("ok: {}", crate::process::show(command)));
    }
    Outcome::of(done.is_ok())
}

/// One on `PATH`, else one built into the cache.
fn cargo_deny() -> Result<PathBuf> {
    if let Some(path) = which("cargo-deny")
        && capture(Command::new(&path).arg("--version")).is_ok()
    {
        return Ok(path);
    }
    let dir = Cache::open()?.entry(&format!("cargo-deny-{CARGO_DENY}"), |dir| {
        terminal::step("building cargo-deny (about a minute, once)");
        run(workspace::cargo()
            .args([
                "install",
                "--quiet",
                "--locked",
                // It runs for a second: a build for speed takes two minutes more.
                "--debug",
                "cargo-deny",
                "--version",
                CARGO_DENY,
                "--root",
            ])
            .arg(dir))
    })?;
    Ok(dir.join("bin/cargo-deny"))
}
