//! A real Prometheus.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use xtask::cache::Cache;
use xtask::debian::Debian;
use xtask::process::{Guard, capture};
use xtask::terminal;

use crate::agent::{field, spawn};
use crate::http;
use crate::output::Output;
use crate::wait::{self, HANG};

const GRACE: Duration = Duration::from_secs(10);

/// What one scrapes and evaluates, and where its alerts go.
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

/// A running Prometheus on a loopback port. Dropping it ends it.
#[derive(Debug)]
pub struct Prometheus {
    _child: Guard,
    address: SocketAddr,
    _log: Output,
    _dir: tempfile::TempDir,
}

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
        write(&dir.path().join("rules.json"), &rule_file(watch.groups))?;
        write(&dir.path().join("prometheus.json"), &configuration(watch))?;
        let mut command = Command::new(parts.join("usr/bin/prometheus"));
        command
            .current_dir(dir.path())
            .args(["--config.file=prometheus.json", "--storage.tsdb.path=data"])
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"]);
        let (child, _, mut log) = spawn("prometheus", &mut command, GRACE)?;
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
        let body = http::get_ok(self.address, path)?;
        let answer: Value = serde_json::from_str(&body).context("read Prometheus' answer")?;
        Ok(answer.get("data").cloned().unwrap_or_default())
    }
}

/// `promtool check rules`: fails with what it finds wrong in the groups.
pub fn check_rules(parts: &Path, groups: &[Value]) -> Result<()> {
    promtool(parts, "check", groups, None)
}

/// `promtool test rules`: runs unit tests of rules (`cases`, of that tool's format, without
/// `rule_files`) on the groups, and fails with what came out differently.
pub fn test_rules(parts: &Path, groups: &[Value], cases: &Value) -> Result<()> {
    promtool(parts, "test", groups, Some(cases))
}

/// Waits until Prometheus, or Alertmanager, is ready; where it listens, by its log.
pub(crate) fn wait_until_ready(log: &mut Output) -> Result<SocketAddr> {
    let address = log.find("address", HANG, |line| {
        let listens = field(line, "msg")? == "Listening on";
        listens.then(|| field(line, "address")?.parse().ok())?
    })?;
    wait::until("readiness", HANG, || http::get_ok(address, "/-/ready").ok())?;
    Ok(address)
}

fn promtool(parts: &Path, verb: &str, groups: &[Value], cases: Option<&Value>) -> Result<()> {
    let dir = tempfile::tempdir().context("make a directory for rules")?;
    write(&dir.path().join("rules.json"), &rule_file(groups))?;
    let file = if let Some(cases) = cases {
        let mut cases = cases.clone();
        if let Some(cases) = cases.as_object_mut() {
            cases.insert("rule_files".to_owned(), json!(["rules.json"]));
        }
        write(&dir.path().join("cases.json"), &cases)?;
        "cases.json"
    } else {
        "rules.json"
    };
    let mut command = Command::new(parts.join("usr/bin/promtool"));
    capture(command.args([verb, "rules", file]).current_dir(dir.path()))?;
    Ok(())
}

/// Its formats are YAML, and every JSON is.
fn write(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, value.to_string()).with_context(|| format!("write {}", path.display()))
}

fn rule_file(groups: &[Value]) -> Value {
    json!({ "groups": groups })
}

fn configuration(watch: Watch<'_>) -> Value {
    let interval = format!("{}s", watch.interval_s);
    json!({
        "global": {
            "scrape_interval": interval, "scrape_timeout": "1s", "evaluation_interval": interval,
        },
        "rule_files": ["rules.json"],
        "scrape_configs": [{
            "job_name": "oom-agent", "static_configs": [{"targets": watch.targets}],
        }],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": watch.alertmanagers}]}]},
    })
}
