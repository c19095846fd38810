//! The tier `lint`: format, clippy, each program by itself, and the dependencies' licences,
//! sources and advisories.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum as _;

use super::Tier;
use super::report::Outcome;
use crate::cache::Cache;
use crate::process::{Guard, capture, run, wait_timeout, which};
use crate::{terminal, workspace};

const CARGO_DENY: &str = "0.20.2";

/// Some networks swallow packets.
const FETCH_LIMIT: Duration = Duration::from_mins(1);

/// Each check is one test.
pub(super) fn run_all() -> Result<Outcome> {
    let mut outcome = Outcome::ran(0, 0);
    let clippy = |targets: &[String]| {
        let mut clippy = workspace::cargo();
        clippy.args(["clippy", "--workspace", "--quiet"]);
        clippy.args(targets).args(["--", "-D", "warnings"]);
        clippy
    };
    // Theirs are no targets of cargo's own choice, so `--all-targets` leaves them out.
    let tiers = Tier::value_variants().iter();
    let tiers = tiers.filter(|tier| tier.has_target()).map(Tier::to_string);
    let tiers: Vec<String> = tiers.flat_map(|tier| ["--test".to_owned(), tier]).collect();
    outcome = outcome.add(check(workspace::cargo().args(["fmt", "--all", "--check"])));
    outcome = outcome.add(check(&mut clippy(&["--all-targets".to_owned()])));
    outcome = outcome.add(check(&mut clippy(&tiers)));
    // Together, and with their tests, they have features of dependencies that none enables
    // itself. So each is built when it is installed.
    for program in ["oom-agent", "bonker-gpio", "xtask"] {
        let args = ["check", "--quiet", "--package", program];
        outcome = outcome.add(check(workspace::cargo().args(args)));
    }
    let deny = cargo_deny()?;
    // It reads every platform's dependencies; the builds fetched this one's.
    run(workspace::cargo().args(["fetch", "--quiet"]))?;
    let args = [
        "--offline",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ];
    let checked = check(
        Command::new(&deny)
            .args(args)
            .current_dir(workspace::root()),
    );
    Ok(outcome.add(checked).add(check_advisories(&deny)?))
}

/// Checks for known vulnerabilities, where their database can be fetched.
fn check_advisories(deny: &Path) -> Result<Outcome> {
    let command = |args: &[&str]| {
        let mut command = Command::new(deny);
        command.args(args).current_dir(workspace::root());
        command
    };
    let mut fetch = command(&["fetch", "db"]);
    fetch.stdin(Stdio::null()).stderr(Stdio::null());
    let mut fetch = Guard::spawn(&mut fetch, Duration::ZERO)?;
    let fetched = wait_timeout(&mut fetch, FETCH_LIMIT)?;
    if !fetched.is_some_and(|status| status.success()) {
        terminal::line(
            "!!! advisories are NOT checked: the database of RustSec could not be fetched. Where github.com \
             is reached, run `cargo deny check advisories`",
        );
        return Ok(Outcome::ran(0, 0));
    }
    Ok(check(&mut command(&[
        "check",
        "--disable-fetch",
        "advisories",
    ])))
}

fn check(command: &mut Command) -> Outcome {
    let done = run(command);
    if let Err(error) = &done {
        terminal::error(error);
    } else {
        terminal::line(format_args!("ok: {}", crate::process::show(command)));
    }
    Outcome::of_check(done.is_ok())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_database_no_advisory_counts_as_checked() {
        let outcome = |deny: &str| check_advisories(Path::new(deny)).unwrap();
        assert_eq!(outcome("/bin/false"), Outcome::ran(0, 0));
        assert_eq!(outcome("/bin/true"), Outcome::ran(1, 0));
    }
}
