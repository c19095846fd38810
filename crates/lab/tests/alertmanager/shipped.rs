//! The rule, the route and the receiver as they are shipped.

use serde_json::Value;
use xtask::workspace;

use crate::support::{at, text};

/// The groups of rules of the plain file.
pub(crate) fn groups() -> Vec<Value> {
    groups_in("rules.yml", "/groups")
}

/// The same of the operator's object.
pub(crate) fn operators_groups() -> Vec<Value> {
    groups_in("prometheus-rule.yaml", "/spec/groups")
}

fn groups_in(file: &str, pointer: &str) -> Vec<Value> {
    at(&yaml(file), pointer).as_array().unwrap().clone()
}

/// Alertmanager's configuration.
pub(crate) fn alertmanager() -> Value {
    yaml("alertmanager.yml")
}

/// The receiver for a bonker beyond loopback.
pub(crate) fn receiver_over_tls() -> Value {
    yaml("receiver-tls.yml")
}

/// The route and the receiver of the operator's `AlertmanagerConfig`, in the words of
/// Alertmanager's own file.
pub(crate) fn operators_route_and_receiver() -> (Value, Value) {
    let object = yaml("alertmanager-config.yaml");
    let mut route = in_snake_case(at(&object, "/spec/route"));
    let matchers = at(&route, "/matchers").as_array().unwrap().iter();
    let matchers: Vec<Value> = matchers
        .map(|matcher| {
            let part = |name: &str| text(matcher, name);
            let (name, kind, value) = (part("/name"), part("/match_type"), part("/value"));
            format!("{name} {kind} \"{value}\"").into()
        })
        .collect();
    *route.pointer_mut("/matchers").unwrap() = matchers.into();
    (route, in_snake_case(at(&object, "/spec/receivers/0")))
}

fn in_snake_case(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| (snake_case(name), in_snake_case(value)))
            .collect(),
        Value::Array(values) => values.iter().map(in_snake_case).collect(),
        other => other.clone(),
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn yaml(file: &str) -> Value {
    let path = workspace::root().join("deploy/alertmanager").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}
