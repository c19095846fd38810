//! Missing fields of incidents, by field. The reasons are free text and make no labels.

use oom_capture::Process;
use prometheus_client::registry::Registry;

use super::Labelled;

/// The fields that `degraded` names beside those that the kernel has of a victim; any other counts
/// as the last.
const FIELDS: [&str; 12] = [
    "trigger",
    "memory",
    "environment",
    "scope",
    "limit_bytes",
    "limit_cgroup",
    "outcome",
    "container.name",
    "pod",
    "oom",
    READING,
    OTHER,
];

const OTHER: &str = "other";

/// The victim as a whole: not read in its own context, or from /proc.
const READING: &str = "reading";

pub(super) struct Degraded(Labelled<&'static str>);

// === impl Degraded ===

impl Degraded {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self(Labelled::new(
            registry,
            "degraded_fields",
            "Incidents in which that field could not be found out, or only in part",
            "field",
            all_fields().map(|field| (field, field)),
        ))
    }

    /// Counts each field of one incident once.
    pub(super) fn count(&self, entries: &[String]) {
        for (field, counter) in self.0.iter() {
            if entries.iter().any(|entry| field_of_entry(entry) == *field) {
                counter.inc();
            }
        }
    }
}

fn all_fields() -> impl Iterator<Item = &'static str> {
    FIELDS
        .into_iter()
        .chain(Process::default().missing_fields())
}

/// The field of an entry such as `victims[3].cmdline: cut at 1024 of 4096 bytes`.
fn field_of_entry(entry: &str) -> &'static str {
    if entry.starts_with("memory[") {
        return "memory";
    }
    let entry = entry
        .strip_prefix("victims[")
        .and_then(|rest| rest.split_once("]."))
        .map_or(entry, |(_, entry)| entry);
    let field = entry.split(':').next().unwrap_or_default();
    if field.starts_with("not read") || field.starts_with("gone before") {
        return READING;
    }
    all_fields().find(|known| *known == field).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_by_their_field() {
        for (entry, field) in [
            ("victims[3].cmdline: cut at 1024 of 4096 bytes", "cmdline"),
            ("memory: cannot open /nonexistent", "memory"),
            ("memory[0].stat: cannot read memory.stat", "memory"),
            (
                "victims[0].environment: cut at 8192 of 9000 bytes",
                "environment",
            ),
            (
                "victims[0].container.name: no container runtime was found",
                "container.name",
            ),
            ("scope: inferred from the ancestor", "scope"),
            (
                "victims[0].not read in its own context: the record was lost",
                "reading",
            ),
            (
                "victims[0].gone before /proc could be read (entity not found)",
                "reading",
            ),
            (
                "victims[0].not read from /proc: it is not the host's here",
                "reading",
            ),
            ("what: ever", "other"),
            ("victims[0]", "other"),
            ("", "other"),
        ] {
            assert_eq!(field_of_entry(entry), field, "{entry}");
        }
    }
}
