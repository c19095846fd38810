//! One alert as a bonk: its id, its place, how bad it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::fingerprint::fingerprint;
use crate::bonk::{Bonk, Malformed, Severity};

/// The sender, in every bonk of the hook.
pub(super) const SOURCE: &str = "alertmanager";

/// The longest fingerprint; Alertmanager's have 16 characters.
const MAX_FINGERPRINT: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Firing,
    Resolved,
}

/// The fields that are used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alert {
    status: Option<State>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    starts_at: Option<Timestamp>,
    fingerprint: Option<String>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum AlertError {
    #[error("it has no startsAt, which makes its id")]
    NoStart,
    #[error("its fingerprint is not of 1 to {MAX_FINGERPRINT} letters and digits")]
    Fingerprint,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// `None` for a resolved alert. An alert without a status has that of its `group`.
pub(super) fn bonk(alert: Alert, group: State) -> Result<Option<Bonk>, AlertError> {
    if alert.status.unwrap_or(group) == State::Resolved {
        return Ok(None);
    }
    let labels = alert.labels.unwrap_or_default();
    let annotations = alert.annotations.unwrap_or_default();
    let starts_at = alert.starts_at.ok_or(AlertError::NoStart)?;
    let id = match alert.fingerprint {
        Some(given) if is_fingerprint(&given) => given,
        None => fingerprint(&labels),
        Some(_) => return Err(AlertError::Fingerprint),
    };
    let first = |from: &BTreeMap<String, String>, names: &[&str]| {
        let mut known = names.iter().filter_map(|name| from.get(*name));
        known.find(|value| !value.is_empty()).cloned()
    };
    // With honor_labels: false the plain names are those of kube-state-metrics' own pod.
    let place = |plain: &str| {
        let exported = format!("exported_{plain}");
        first(&labels, &[&exported, plain]).unwrap_or_default()
    };
    let summary = first(&annotations, &["summary", "description", "message"])
        .or_else(|| first(&labels, &["alertname"]));
    let bonk = Bonk {
        id: format!("am-{id}-{starts_at}"),
        // An alert that still fires does not expire, however long ago it began.
        time: None,
        source: SOURCE.to_owned(),
        node: place("node"),
        namespace: place("namespace"),
        pod: place("pod"),
        container: place("container"),
        comm: String::new(),
        summary: summary.unwrap_or_default(),
        severity: severity(&labels),
        labels,
        ..Bonk::default()
    };
    Ok(Some(bonk.bounded()?))
}

fn is_fingerprint(text: &str) -> bool {
    (1..=MAX_FINGERPRINT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// An alert about an OOM kill is a kill, whatever its label `severity`, which decides for all
/// others.
fn severity(labels: &BTreeMap<String, String>) -> Severity {
    let label = |name: &str| {
        let value = labels.get(name).map(String::as_str);
        value.unwrap_or_default().to_ascii_lowercase()
    };
    let severity = label("severity");
    match severity.as_str() {
        "kill" => return Severity::Kill,
        "node" => return Severity::Node,
        _ => {}
    }
    let killed = label("alertname").contains("oomkill") || label("reason") == "oomkilled";
    match severity.as_str() {
        _ if killed && label("scope") == "node" => Severity::Node,
        _ if killed => Severity::Kill,
        "none" | "info" | "warning" => Severity::Warning,
        "error" | "critical" | "page" => Severity::Critical,
        _ => Severity::Kill,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{Alert, AlertError, State, bonk, severity};
    use crate::bonk::{Bonk, Severity};

    fn read(alert: Value) -> Result<Option<Bonk>, AlertError> {
        let alert: Alert = serde_json::from_value(alert).unwrap();
        bonk(alert, State::Firing)
    }

    fn fires(labels: &Value, annotations: &Value) -> Bonk {
        let start = "2026-11-21T10:00:00.5+01:00";
        let alert = json!({"labels": labels, "annotations": annotations, "startsAt": start});
        read(alert).unwrap().unwrap()
    }

    #[test]
    fn the_id_is_the_fingerprint_and_the_start() {
        let id = |alert| read(alert).map(|bonk| bonk.unwrap().id);
        let given =
            json!({"startsAt": "2026-11-21T09:00:00.5Z", "fingerprint": "1a30ba71cca2921f"});
        let wanted = "am-1a30ba71cca2921f-2026-11-21T09:00:00.5Z";
        assert_eq!(id(given).unwrap(), wanted);
        let zone =
            json!({"startsAt": "2026-11-21T10:00:00.5+01:00", "fingerprint": "1a30ba71cca2921f"});
        assert_eq!(id(zone).unwrap(), wanted);
        // The fingerprint of no labels, by Prometheus' own reckoning.
        let none = json!({"startsAt": "2026-11-21T09:00:00.5Z"});
        assert_eq!(
            id(none).unwrap(),
            "am-cbf29ce484222325-2026-11-21T09:00:00.5Z"
        );
        assert_eq!(id(json!({"fingerprint": "1a"})), Err(AlertError::NoStart));
        for hostile in ["", "a-b", "ü", &"a".repeat(65)] {
            let alert = json!({"startsAt": "2026-11-21T09:00:00Z", "fingerprint": hostile});
            assert_eq!(id(alert), Err(AlertError::Fingerprint), "{hostile}");
        }
    }

    #[test]
    fn labels_and_annotations_name_the_place_and_the_reason() {
        let plain = fires(
            &json!({"alertname": "x", "namespace": "shop", "pod": "cart-1", "container": "cart", "node": "n1"}),
            &json!({"description": "long", "summary": "short"}),
        );
        assert_eq!(
            (plain.place(), plain.node.as_str()),
            ("shop/cart-1/cart".into(), "n1")
        );
        assert_eq!(
            (plain.summary.as_str(), plain.source.as_str()),
            ("short", "alertmanager")
        );
        assert_eq!(plain.labels.len(), 5);
        assert!(
            plain.id.ends_with("-2026-11-21T09:00:00.5Z"),
            "{}",
            plain.id
        );
        assert_eq!(plain.time, None);
        let scraped = fires(
            &json!({"alertname": "x", "namespace": "monitoring", "exported_namespace": "shop"}),
            &json!({"summary": "", "description": "long"}),
        );
        assert_eq!(
            (scraped.place(), scraped.summary.as_str()),
            ("shop".into(), "long")
        );
        assert_eq!(fires(&json!({"alertname": "x"}), &json!(null)).summary, "x");
        assert_eq!(fires(&json!(null), &json!({})).summary, "");
    }

    #[test]
    fn a_kill_is_a_kill_and_the_rest_goes_by_its_severity() {
        let check = |labels: &[(&str, &str)], wanted: Severity| {
            let own = labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let own: BTreeMap<String, String> = own.collect();
            assert_eq!(severity(&own), wanted, "{labels:?}");
        };
        check(&[], Severity::Kill);
        check(&[("severity", "whatever")], Severity::Kill);
        check(&[("severity", "info")], Severity::Warning);
        check(&[("severity", "Warning")], Severity::Warning);
        check(&[("severity", "critical")], Severity::Critical);
        check(&[("severity", "node")], Severity::Node);
        check(
            &[("alertname", "OOMKilled"), ("severity", "warning")],
            Severity::Kill,
        );
        check(
            &[("reason", "OOMKilled"), ("severity", "critical")],
            Severity::Kill,
        );
        check(
            &[("alertname", "OomKilled"), ("scope", "node")],
            Severity::Node,
        );
        check(
            &[
                ("alertname", "PodMemory"),
                ("scope", "node"),
                ("severity", "warning"),
            ],
            Severity::Warning,
        );
    }
}
