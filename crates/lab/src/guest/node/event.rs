//! The Events that the agent should write of a kill.

use serde_json::{Value, json};

use crate::expect::note;

/// What an Event should be.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpectedEvent<'a> {
    /// Kind, namespace and name of its object.
    pub(super) on: &'a str,
    pub(super) field_path: Option<&'a str>,
    pub(super) reason: &'a str,
    /// Its first sentence names the victim, its place and the limit: each of these.
    pub(super) first: &'a [&'a str],
    /// What else its note contains.
    pub(super) contains: &'a [&'a str],
    /// How its last sentence, the next step, begins after "Next: ".
    pub(super) next: &'a str,
    /// Whether volumes in memory are mentioned.
    pub(super) volumes: bool,
    /// Its characters at most: 400 where nothing unusual happened.
    pub(super) chars: usize,
}

impl ExpectedEvent<'_> {
    pub(super) fn value(&self) -> Value {
        json!({
            "on": self.on,
            "field_path": self.field_path,
            "reason": self.reason,
            "note": note(self.first, self.contains, self.next, self.volumes, self.chars),
        })
    }
}

/// The compared fields of an Event.
pub(super) fn compared(event: &Value) -> Value {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let object = ["kind", "namespace", "name"]
        .map(|name| text(&format!("/involvedObject/{name}")).unwrap_or_default());
    json!({
        "on": object.join(" "),
        "field_path": text("/involvedObject/fieldPath"),
        "reason": text("/reason"),
        "note": text("/message"),
    })
}

/// By object and container: they are written in no order that matters.
pub(super) fn sorted(events: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut events: Vec<Value> = events.collect();
    let key = |event: &Value, name: &str| event.get(name).map(Value::to_string);
    events.sort_by_key(|event| (key(event, "on"), key(event, "field_path")));
    events
}
