//! Kills that were made against the reports of them. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

/// A kill, by its victim's own notes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kill {
    pub(super) cgroup: String,
    /// In the victim's own PID namespace.
    pub(super) pid: u32,
    /// A moment before: ms since the host's boot.
    pub(super) at_ms: u64,
}

/// An incident line, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IncidentLine {
    /// The incident's.
    pub(super) id: String,
    pub(super) cgroup: String,
    pub(super) pid: u32,
}

/// An Event, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// `Kind/name`.
    pub(super) object: String,
    pub(super) incident: String,
    /// How many kills it counts: its own and those of its series.
    pub(super) count: u64,
}

/// What of the kills was reported.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Kills with one incident.
    pub(super) once: u64,
    /// Kills with several incidents.
    pub(super) doubled: Vec<Kill>,
    pub(super) missing: Vec<Kill>,
    /// Incidents in the same cgroups that are of no kill.
    pub(super) invented: Vec<IncidentLine>,
}

/// Joins both by cgroup and pid. Incidents of other cgroups are left out.
pub(super) fn compare(kills: &[Kill], reported: &[IncidentLine]) -> Comparison {
    let key = |cgroup: &str, pid: u32| (cgroup.to_owned(), pid);
    let mut lines: BTreeMap<(String, u32), Vec<&IncidentLine>> = BTreeMap::new();
    for one in reported {
        let lines = lines.entry(key(&one.cgroup, one.pid)).or_default();
        lines.push(one);
    }
    let mut comparison = Comparison::default();
    for kill in kills {
        let lines = lines.remove(&key(&kill.cgroup, kill.pid));
        match lines.as_ref().map_or(0, Vec::len) {
            0 => comparison.missing.push(kill.clone()),
            1 => comparison.once = comparison.once.saturating_add(1),
            _ => comparison.doubled.push(kill.clone()),
        }
    }
    let ours = |one: &&IncidentLine| kills.iter().any(|kill| kill.cgroup == one.cgroup);
    let rest = lines.into_values().flatten();
    comparison.invented = rest.filter(ours).cloned().collect();
    comparison
}

/// Incidents with more than one Event on the same object.
pub(super) fn doubled_events(events: &[Event]) -> Vec<String> {
    let mut count: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for event in events {
        let key = (event.object.as_str(), event.incident.as_str());
        let seen = count.entry(key).or_default();
        *seen = seen.saturating_add(1);
    }
    let several = count.into_iter().filter(|(_, count)| *count > 1);
    several
        .map(|((object, incident), count)| format!("{count} × {incident} on {object}"))
        .collect()
}

/// The `action` of an Event of a status check.
const STATUS_CHECK: &str = "CompareStatus";

/// Kills that the Events on those objects count.
pub(super) fn count_on(objects: &[String], events: &[Event]) -> u64 {
    let events = events
        .iter()
        .filter(|event| objects.contains(&event.object));
    events.map(|event| event.count).sum()
}

// === impl IncidentLine ===

impl IncidentLine {
    /// Reads a whole line; `None` where it is none.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let incident: Value = serde_json::from_str(line).ok()?;
        let victim = incident.pointer("/victims/0")?;
        let number = |key| victim.get(key).and_then(Value::as_u64);
        let pid = number("namespace_pid").or_else(|| number("pid"))?;
        Some(Self {
            id: incident.get("id")?.as_str()?.to_owned(),
            cgroup: victim.get("cgroup")?.as_str()?.to_owned(),
            pid: u32::try_from(pid).ok()?,
        })
    }
}

// === impl Event ===

impl Event {
    /// Reads an object of `events.k8s.io/v1`; `None` where it is not the agent's report of a kill, such as
    /// its check of a status.
    pub(super) fn parse(event: &Value) -> Option<Self> {
        if event.get("action").and_then(Value::as_str) == Some(STATUS_CHECK) {
            return None;
        }
        let regarding = event.get("regarding")?;
        let annotations = event.pointer("/metadata/annotations")?;
        let text = |key: &str| regarding.get(key).and_then(Value::as_str);
        let count = event.pointer("/series/count").and_then(Value::as_u64);
        Some(Self {
            object: format!("{}/{}", text("kind")?, text("name")?),
            incident: annotations
                .get("oom-bonker.dev/incident")?
                .as_str()?
                .to_owned(),
            count: count.unwrap_or(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kill(cgroup: &str, pid: u32) -> Kill {
        Kill {
            cgroup: cgroup.into(),
            pid,
            at_ms: 0,
        }
    }

    fn incident(id: &str, cgroup: &str, pid: u32) -> IncidentLine {
        IncidentLine {
            id: id.into(),
            cgroup: cgroup.into(),
            pid,
        }
    }

    #[test]
    fn each_kill_is_reported_once_or_is_named() {
        // The same pid is another process in another namespace.
        let kills = [kill("/a", 1), kill("/a", 2), kill("/a", 3), kill("/b", 1)];
        let lines = [
            incident("w", "/a", 1),
            incident("x", "/a", 2),
            incident("y", "/a", 2),
            incident("z", "/b", 9),
            incident("others", "/c", 1),
        ];
        let comparison = compare(&kills, &lines);
        assert_eq!(
            comparison,
            Comparison {
                once: 1,
                doubled: vec![kill("/a", 2)],
                missing: vec![kill("/a", 3), kill("/b", 1)],
                invented: vec![incident("z", "/b", 9)],
            }
        );
    }

    #[test]
    fn an_incident_may_have_an_event_on_each_of_its_objects_but_one() {
        let event = |object: &str, incident: &str| Event {
            object: object.into(),
            incident: incident.into(),
            count: 1,
        };
        let all = [
            event("Pod/a", "1"),
            event("Pod/b", "1"),
            event("Pod/a", "2"),
            event("Pod/a", "2"),
        ];
        assert_eq!(doubled_events(&all), ["2 × 2 on Pod/a"]);
    }

    #[test]
    fn a_line_is_read_by_the_pid_that_the_victim_knows() {
        let line = r#"{"id":"b-1-9","victims":[{"pid":9,"namespace_pid":4,"cgroup":"/a"}]}"#;
        assert_eq!(IncidentLine::parse(line), Some(incident("b-1-9", "/a", 4)));
        let host = r#"{"id":"b-1-9","victims":[{"pid":9,"namespace_pid":null,"cgroup":"/a"}]}"#;
        assert_eq!(IncidentLine::parse(host), Some(incident("b-1-9", "/a", 9)));
        assert_eq!(IncidentLine::parse(line.get(..40).unwrap()), None);
    }

    #[test]
    fn an_event_is_read_with_its_count() {
        let event = json!({
            "metadata": {"annotations": {"oom-bonker.dev/incident": "b-1-9"}},
            "regarding": {"kind": "Pod", "name": "hungry"}, "series": {"count": 3},
        });
        let event_read = Event::parse(&event).unwrap();
        assert_eq!(
            (event_read.object.as_str(), event_read.incident.as_str()),
            ("Pod/hungry", "b-1-9")
        );
        assert_eq!(event_read.count, 3);
        assert_eq!(Event::parse(&json!({"regarding": {}})), None);
        let mut check = event;
        check["action"] = json!("CompareStatus");
        assert_eq!(Event::parse(&check), None);
    }
}
