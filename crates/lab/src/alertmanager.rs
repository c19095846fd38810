//! A real Alertmanager.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xtask::cache::Cache;
use xtask::debian::Debian;
use xtask::process::{Guard, capture};
use xtask::terminal;

use crate::agent::spawn;
use crate::http;
use crate::output::Output;
use crate::prometheus::wait_until_ready;
use crate::scrape::Scrape;

const GRACE: Duration = Duration::from_secs(10);

/// Debian's looks for its templates below /usr/share: it alone is shown them there.
const WITH_TEMPLATES: &str =
    r#"mount -t overlay none -o "lowerdir=$0/usr/share:/usr/share" /usr/share && exec "$@""#;

/// A running Alertmanager on a loopback port. Dropping it ends it.
#[derive(Debug)]
pub struct Alertmanager {
    _child: Guard,
    address: SocketAddr,
    _log: Output,
    _dir: tempfile::TempDir,
}

impl Alertmanager {
    /// Unpacks Debian's package into the cache, where it is not there yet. Nothing is
    /// installed.
    pub fn prepare(cache: &Cache, debian: Debian) -> Result<PathBuf> {
        cache.entry("alertmanager-debian-1", |dir| {
            terminal::step("unpacking Alertmanager from Debian's package (once)");
            debian.unpack(&["prometheus-alertmanager"], dir)
        })
    }

    /// Starts one from `parts`, see [`Alertmanager::prepare`], and waits until it is ready.
    /// Its file may name others in `dir`, where it is started.
    pub fn start(parts: &Path, configuration: &Value, dir: tempfile::TempDir) -> Result<Self> {
        write(dir.path(), configuration)?;
        let mut command = Command::new("unshare");
        command
            .current_dir(dir.path())
            .args(["--mount", "--propagation=private", "--"])
            .args(["/bin/sh", "-c", WITH_TEMPLATES])
            .arg(parts)
            .arg(parts.join("usr/bin/prometheus-alertmanager"))
            .args(["--config.file", FILE, "--storage.path=data"])
            .args(["--web.listen-address=127.0.0.1:0"])
            .args(["--cluster.listen-address=", "--log.format=json"]);
        let (child, _, mut log) = spawn("prometheus-alertmanager", &mut command, GRACE)?;
        Ok(Self {
            _child: child,
            address: wait_until_ready(&mut log)?,
            _log: log,
            _dir: dir,
        })
    }

    /// Where its API is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Notifications by webhook that it has tried so far, and how many of them failed.
    pub fn notifications(&self) -> Result<(u64, u64)> {
        let scrape = Scrape::parse(&http::get_ok(self.address, "/metrics")?);
        let count = |name: &str| {
            let name = format!("alertmanager_notifications_{name}");
            scrape.count(&name, &[("integration", "webhook")])
        };
        Ok((count("total"), count("failed_total")))
    }
}

/// `amtool check-config`: fails with what it finds wrong.
pub fn check_configuration(parts: &Path, configuration: &Value) -> Result<()> {
    let dir = tempfile::tempdir().context("make a directory for a configuration")?;
    write(dir.path(), configuration)?;
    let mut command = Command::new(parts.join("usr/bin/amtool"));
    capture(command.args(["check-config", FILE]).current_dir(dir.path()))?;
    Ok(())
}

/// It is YAML, and every JSON is.
const FILE: &str = "alertmanager.json";

fn write(dir: &Path, configuration: &Value) -> Result<()> {
    let path = dir.join(FILE);
    fs::write(&path, configuration.to_string()).with_context(|| format!("write {}", path.display()))
}
