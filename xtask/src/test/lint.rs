//! The tier `lint`: format, clippy, each program by itself, and the dependencies' licences,
//! sources and advisories.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum as _;

use super::Tier;
use super::report::Outcome;
use crate::cache::Cache;
use crate::process::{bounded, capture, run, which};
use crate::{terminal, workspace};

const CARGO_DENY: &str = "0.20.2";

/// Some networks swallow packets.
const FETCH_LIMIT: Duration = Duration::from_mins(1);

/// Each check is one test.
pub(super) fn run_all() -> Result<Outcome> {
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
    let mut results = vec![
        check(workspace::cargo().args(["fmt", "--all", "--check"])),
        check(&mut clippy(&["--all-targets".to_owned()])),
        check(&mut clippy(&tiers)),
    ];
    // Together, and with their tests, they have features of dependencies that none enables
    // itself. So each is built when it is installed.
    for program in ["oom-agent", "bonker-gpio", "xtask"] {
        let args = ["check", "--quiet", "--package", program];
        results.push(check(workspace::cargo().args(args)));
    }
    let deny = cargo_deny()?;
    // It reads every platform's dependencies; the builds fetched this one's.
    run(workspace::cargo().args(["fetch", "--quiet"]))?;
    let args = ["--offline", "check", "--hide-inclusion-graph"];
    let what = ["bans", "licenses", "sources"];
    let mut check_sources = Command::new(&deny);
    check_sources.args(args).args(what);
    results.push(check(check_sources.current_dir(workspace::root())));
    results.extend(check_advisories(&deny));
    Ok(Outcome::of_checks(&results))
}

/// Checks for known vulnerabilities, where their database can be fetched.
fn check_advisories(deny: &Path) -> Option<bool> {
    let mut fetch = bounded(FETCH_LIMIT, deny);
    if capture(fetch.args(["fetch", "db"]).current_dir(workspace::root())).is_err() {
        terminal::line(
            "!!! advisories are NOT checked: the database of RustSec could not be fetched. Where github.com \
             is reached, run `cargo deny check advisories`",
        );
        return None;
    }
    let mut advisories = Command::new(deny);
    advisories.args(["check", "--disable-fetch", "advisories"]);
    Some(check(advisories.current_dir(workspace::root())))
}

fn check(command: &mut Command) -> bool {
    let done = run(command);
    if let Err(error) = &done {
        terminal::error(error);
    } else {
        terminal::line(format_args!("ok: {}", crate::process::show(command)));
    }
    done.is_ok()
}

/// One on `PATH`, else one built into the cache.
fn cargo_deny() -> Result<PathBuf> {
    if let Some(path) = which("cargo-deny")
        && capture(Command::new(&path).arg("--version")).is_ok()
    {
        return Ok(path);
    }
    let entry = format!("cargo-deny-{CARGO_DENY}");
    let dir = Cache::open()?.install("cargo-deny", CARGO_DENY, &entry, |cargo| {
        // It runs for a second: a build for speed takes two minutes more.
        cargo.arg("--debug");
    })?;
    Ok(dir.join("bin/cargo-deny"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_database_no_advisory_counts_as_checked() {
        assert_eq!(check_advisories(Path::new("/bin/false")), None);
        assert_eq!(check_advisories(Path::new("/bin/true")), Some(true));
    }
}
