//! `cargo xtask bench bonker`: thousands of clients of one bonker.

mod report;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use lab::{Bonker, Credentials, LoadClients, Steps, interrupt};
use xtask::{dist, terminal};

use super::checks;
use super::footprint::Memory;
use super::page::{Page, Section};
use report::{KINDS, Kind, Report, Visit, tables};

/// Flags of the command.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// A bonker-gpio that is built already [default: built as `dist` builds it].
    #[arg(long, value_name = "FILE")]
    bonker: Option<PathBuf>,
    /// Clients, each with a stream.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=8192))]
    clients: u32,
    /// Bonks of each client.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    each: u32,
    /// The time over which they are spread, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    within: u64,
    /// Write docs/bonker-load.md too.
    #[arg(long)]
    write: bool,
}

/// All of a log is read within this, once its program has ended.
const LAST_LINES: Duration = Duration::from_secs(10);

/// Sets up, has them bonk, shows; fails where a promise is broken.
pub(super) fn main(args: &Args) -> Result<()> {
    interrupt::catch()?;
    let program = match &args.bonker {
        Some(built) => built.clone(),
        None => dist::bonker()?,
    };
    let mut visits = Vec::new();
    for kind in &KINDS {
        visits.push(visit(args, &program, kind)?);
        interrupt::check()?;
    }
    let report = Report {
        clients: args.clients,
        each: args.each,
        within: Duration::from_secs(args.within),
        visits,
    };
    let page = Page {
        file: "bonker-load.md",
        section: Section::First,
        title: "# Load on the bonker",
        machine: "",
        figures: tables(&report),
        method: include_str!("bonker/method.md"),
    };
    page.publish(args.write)?;
    checks::ensure_none(&report.broken())
}

fn visit(args: &Args, program: &Path, kind: &'static Kind) -> Result<Visit> {
    let dir = tempfile::tempdir().context("make a directory")?;
    let state = dir.path().join("state");
    let mut flags = vec!["--state", path(&state)?, "--log-format", "json"];
    let (cert, key, ca) = ("server.crt", "server.key", "ca.crt");
    let [cert, key, ca] = [cert, key, ca].map(|name| dir.path().join(name));
    let credentials = if kind.mutual_tls {
        flags.extend(["--tls-cert", path(&cert)?, "--tls-key", path(&key)?]);
        flags.extend(["--tls-client-ca", path(&ca)?]);
        Some(Credentials::create(program, dir.path())?)
    } else {
        None
    };
    let mut bonker = Bonker::start_with_web(program, &flags)?;
    let pid = bonker.pid();
    let before = Memory::read(pid)?.peak;

    terminal::step(format_args!("{} clients: {}", args.clients, kind.name));
    let (url, credentials) = (bonker.url(), credentials.as_ref());
    let mut clients = LoadClients::connect(url, credentials, args.clients, kind.sharing)?;
    let connected = Memory::read(pid)?.peak;
    interrupt::check()?;
    let bonks = args.clients.saturating_mul(args.each);
    terminal::step(format_args!("{bonks} bonks over {} s", args.within));
    let answers = clients.bonk(args.each, Duration::from_secs(args.within))?;
    let requests = (!kind.mutual_tls).then(|| bonker.requests()).transpose()?;
    let peak = Memory::read(pid)?.peak;

    terminal::step("SIGTERM");
    let (ends, end) = thread::scope(|scope| {
        let end = scope.spawn(|| bonker.end());
        (clients.wait_for_end(), end.join())
    });
    let (stopped, well) = end.map_err(|_| anyhow!("waiting for the bonker panicked"))??;
    let log = bonker.log.to_end(LAST_LINES);
    Ok(Visit {
        kind,
        before,
        connected,
        peak,
        answers,
        requests,
        ends: ends?,
        stopped,
        well,
        steps: Steps::parse(log.iter().map(String::as_str)),
    })
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a directory whose name is text")
}
