//! The alerts and the dashboard as they are shipped.

use serde_json::Value;
use xtask::workspace;

use crate::support::{at, text};

/// A query of the dashboard.
#[derive(Debug)]
pub(crate) struct Target {
    /// The title of its panel.
    panel: String,
    /// With Grafana's variables filled in.
    pub(crate) expression: String,
    legend: String,
}

impl Target {
    /// For an error: where it stands, and its expression.
    pub(crate) fn name(&self) -> String {
        format!("{}: {}", self.panel, self.expression)
    }

    /// The labels that its legend names.
    pub(crate) fn legend_labels(&self) -> Vec<&str> {
        let named = self.legend.split("{{").skip(1);
        named.map(|rest| rest.split("}}").next().unwrap()).collect()
    }
}

/// Every query of the dashboard.
pub(crate) fn targets() -> Vec<Target> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana-dashboard.json")).unwrap();
    let panels = at(&dashboard, "/panels").as_array().unwrap();
    let of_panel = |panel: &Value| {
        let targets = at(panel, "/targets").as_array().unwrap().clone();
        let panel = text(panel, "/title").to_owned();
        targets.into_iter().map(move |target| Target {
            panel: panel.clone(),
            expression: filled_in(text(&target, "/expr")),
            legend: text(&target, "/legendFormat").to_owned(),
        })
    };
    panels.iter().flat_map(of_panel).collect()
}

fn filled_in(expression: &str) -> String {
    let filled = expression
        .replace("$__range", "5m")
        .replace("$__rate_interval", "5m");
    assert!(!filled.contains("$_"), "{expression}");
    filled
}

/// The groups of alerts.
pub(crate) fn groups() -> Vec<Value> {
    let rule = yaml("deploy/prometheus-rule.yaml");
    at(&rule, "/spec/groups").as_array().unwrap().clone()
}

/// Every alert's name.
pub(crate) fn alerts() -> Vec<String> {
    let groups = groups();
    let rules = groups
        .iter()
        .flat_map(|group| at(group, "/rules").as_array().unwrap());
    rules.map(|rule| text(rule, "/alert").to_owned()).collect()
}

/// The unit tests of the alerts.
pub(crate) fn alert_tests() -> Value {
    yaml("crates/lab/tests/prometheus/alerts.yaml")
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace::root().join(path)).unwrap()
}
