//! A real Prometheus, and a real Alertmanager.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::cache::Cache;
use xtask::debian::Debian;
use xtask::process::capture;
use xtask::terminal;

use crate::agent::field;
use crate::http;
use crate::scrape::Scrape;
use crate::server::Server;
use crate::wait::{self, HANG};

/// Debian's Alertmanager looks for its templates below /usr/share: it alone is shown them there.
const WITH_TEMPLATES: &str =
    r#"mount -t overlay none -o "lowerdir=$0/usr/share:/usr/share" /usr/share && exec "$@""#;

/// Their formats are YAML, and every JSON is.
const CONFIGURATION: &str = "configuration.json";
const RULES: &str = "rules.json";
const CASES: &str = "cases.json";

/// What a Prometheus scrapes and evaluates, and where its alerts go.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// Where `/metrics` are served.
    pub targets: &'a [SocketAddr],
    /// Groups of rules, as a rule file has them below `groups` and a `PrometheusRule` below `spec`.
    pub groups: &'a [Value],
    /// Where alerts are sent.
    pub alertmanagers: &'a [SocketAddr],
    /// From one scrape, or one evaluation, to the next, in seconds.
    pub interval_s: u32,
}

/// A running Prometheus on a loopback port. Dropping it ends it.
#[derive(Debug)]
pub struct Prometheus(Monitor);

/// A running Alertmanager on a loopback port. Dropping it ends it.
#[derive(Debug)]
pub struct Alertmanager(Monitor);

/// What both have in common.
#[derive(Debug)]
struct Monitor {
    _server: Server,
    address: SocketAddr,
    _dir: TempDir,
}

/// Nothing, every second.
impl Default for Watch<'_> {
    fn default() -> Self {
        Self {
            targets: &[],
            groups: &[],
            alertmanagers: &[],
            interval_s: 1,
        }
    }
}

// === impl Prometheus ===

impl Prometheus {
    /// Unpacks Debian's package into the cache, where it is not there yet. Nothing is
    /// installed.
    pub fn prepare(cache: &Cache, debian: Debian) -> Result<PathBuf> {
        cache.entry("prometheus-debian-1", |dir| {
            terminal::step("unpacking Prometheus from Debian's package (once)");
            debian.unpack(&["prometheus"], dir)
        })
    }

    /// Starts one from `parts`, see [`Prometheus::prepare`], and waits until it answers queries.
    pub fn start(parts: &Path, watch: Watch<'_>) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("oom-bonker-prometheus-")
            .tempdir()
            .context("make a directory for Prometheus")?;
        write(&dir, RULES, &json!({"groups": watch.groups}))?;
        write(&dir, CONFIGURATION, &configuration(watch))?;
        let mut command = Command::new(parts.join("usr/bin/prometheus"));
        command.args(["--config.file", CONFIGURATION, "--storage.tsdb.path=data"]);
        Monitor::start("prometheus", &mut command, dir).map(Self)
    }

    /// Where its API is.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The series that an expression gives now: `metric` and `value` of each.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let query = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let data = self.get(&format!("/api/v1/query?query={query}"))?;
        match data.get("result").and_then(Value::as_array) {
            Some(series) => Ok(series.clone()),
            None => bail!("an answer without series to {expression}: {data}"),
        }
    }

    /// The alerts that are pending or firing: `labels`, `annotations` and `state` of each.
    pub fn alerts(&self) -> Result<Vec<Value>> {
        let data = self.get("/api/v1/alerts")?;
        let alerts = data.get("alerts").and_then(Value::as_array);
        alerts.cloned().context("an answer without alerts")
    }

    /// What GET gives of a path of the API, below `data`.
    pub fn get(&self, path: &str) -> Result<Value> {
        let body = http::get_ok(self.address(), path)?;
        let answer: Value = serde_json::from_str(&body).context("read Prometheus' answer")?;
        Ok(answer.get("data").cloned().unwrap_or_default())
    }
}

// === impl Alertmanager ===

impl Alertmanager {
    /// As [`Prometheus::prepare`].
    pub fn prepare(cache: &Cache, debian: Debian) -> Result<PathBuf> {
        cache.entry("alertmanager-debian-1", |dir| {
            terminal::step("unpacking Alertmanager from Debian's package (once)");
            debian.unpack(&["prometheus-alertmanager"], dir)
        })
    }

    /// Starts one from `parts`, see [`Alertmanager::prepare`], and waits until it is ready.
    /// Its configuration may name files in `dir`, where it is started.
    pub fn start(parts: &Path, configuration: &Value, dir: TempDir) -> Result<Self> {
        write(&dir, CONFIGURATION, configuration)?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation=private", "--"])
            .args(["/bin/sh", "-c", WITH_TEMPLATES])
            .arg(parts)
            .arg(parts.join("usr/bin/prometheus-alertmanager"))
            .args(["--config.file", CONFIGURATION, "--storage.path=data"])
            .arg("--cluster.listen-address=");
        Monitor::start("prometheus-alertmanager", &mut command, dir).map(Self)
    }

    /// Where its API is.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Notifications by webhook that it has tried so far, and how many of them failed.
    pub fn notifications(&self) -> Result<(u64, u64)> {
        let scrape = Scrape::parse(&http::get_ok(self.address(), "/metrics")?);
        let count = |name: &str| {
            let name = format!("alertmanager_notifications_{name}");
            scrape.count(&name, &[("integration", "webhook")])
        };
        Ok((count("total"), count("failed_total")))
    }
}

// === impl Monitor ===

impl Monitor {
    fn start(name: &'static str, command: &mut Command, dir: TempDir) -> Result<Self> {
        command.args(["--web.listen-address=127.0.0.1:0", "--log.format=json"]);
        let mut server = Server::start(name, command, dir.path())?;
        let address = server.log.find("address", HANG, |line| {
            let listens = field(line, "msg")? == "Listening on";
            listens.then(|| field(line, "address")?.parse().ok())?
        })?;
        wait::until("readiness", HANG, || http::get_ok(address, "/-/ready").ok())?;
        Ok(Self {
            _server: server,
            address,
            _dir: dir,
        })
    }
}

/// `promtool check rules`: fails with what it finds wrong in the groups.
pub fn check_rules(parts: &Path, groups: &[Value]) -> Result<()> {
    let files = [(RULES, json!({"groups": groups}))];
    check(parts, "promtool", &["check", "rules", RULES], &files)
}

/// `promtool test rules`: runs unit tests of rules (`cases`, of that tool's format, without
/// `rule_files`) on the groups, and fails with what came out differently.
pub fn test_rules(parts: &Path, groups: &[Value], cases: &Value) -> Result<()> {
    let mut cases = cases.clone();
    if let Some(cases) = cases.as_object_mut() {
        cases.insert("rule_files".to_owned(), json!([RULES]));
    }
    let files = [(RULES, json!({"groups": groups})), (CASES, cases)];
    check(parts, "promtool", &["test", "rules", CASES], &files)
}

/// `amtool check-config`: fails with what it finds wrong.
pub fn check_configuration(parts: &Path, configuration: &Value) -> Result<()> {
    let files = [(CONFIGURATION, configuration.clone())];
    check(parts, "amtool", &["check-config", CONFIGURATION], &files)
}

fn check(parts: &Path, tool: &str, args: &[&str], files: &[(&str, Value)]) -> Result<()> {
    let dir = tempfile::tempdir().context("make a directory to check files in")?;
    for (name, value) in files {
        write(&dir, name, value)?;
    }
    let mut command = Command::new(parts.join("usr/bin").join(tool));
    capture(command.args(args).current_dir(dir.path())).map(drop)
}

fn write(dir: &TempDir, name: &str, value: &Value) -> Result<()> {
    let path = dir.path().join(name);
    fs::write(&path, value.to_string()).with_context(|| format!("write {}", path.display()))
}

fn configuration(watch: Watch<'_>) -> Value {
    let interval = format!("{}s", watch.interval_s);
    json!({
        "global": {
            "scrape_interval": interval, "scrape_timeout": "1s", "evaluation_interval": interval,
        },
        "rule_files": [RULES],
        "scrape_configs": [{
            "job_name": "oom-agent", "static_configs": [{"targets": watch.targets}],
        }],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": watch.alertmanagers}]}]},
    })
}
