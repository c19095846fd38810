//! Which sinks have yet to deliver which incidents, and the lines that record it. Pure.
//!
//! A line is a JSON object: an incident with the sinks that have to deliver it, or that one of them has
//! settled it. Anything else, a torn last line too, is passed over.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::incident::Incident;

/// The most remembered incidents; the oldest is dropped for one more.
pub(super) const ROOM: usize = 1024;

/// An incident that sinks have not delivered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undelivered {
    pub(super) sinks: BTreeSet<String>,
    /// Without command lines, environments and the memory breakdown, which sinks with a queue do not use.
    pub(super) incident: Incident,
}

#[derive(Serialize, Deserialize)]
enum Line {
    #[serde(rename = "owed")]
    Undelivered(Box<Undelivered>),
    #[serde(rename = "done")]
    Settled { id: String, sink: String },
}

/// The state that the lines add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// In the order of arrival.
    entries: BTreeMap<u64, Undelivered>,
    numbers: BTreeMap<String, u64>,
    next: u64,
}

// === impl Ledger ===

impl Ledger {
    /// Any bytes make a ledger.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut ledger = Self::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Line::Undelivered(undelivered)) => {
                    ledger.insert(*undelivered);
                }
                Ok(Line::Settled { id, sink }) => {
                    ledger.settle(&id, &sink);
                }
                Err(_) => {}
            }
        }
        ledger
    }

    /// Returns the line that records it, and how many older ones were dropped for it.
    pub(super) fn insert(&mut self, undelivered: Undelivered) -> (Vec<u8>, u64) {
        let id = undelivered.incident.id.clone();
        let mut dropped = 0;
        if let Some(number) = self.numbers.remove(&id) {
            self.entries.remove(&number);
        }
        while self.entries.len() >= ROOM
            && let Some((_, oldest)) = self.entries.pop_first()
        {
            self.numbers.remove(&oldest.incident.id);
            dropped += 1;
        }
        let line = encode_line(&Line::Undelivered(Box::new(undelivered.clone())));
        self.numbers.insert(id, self.next);
        self.entries.insert(self.next, undelivered);
        self.next += 1;
        (line, dropped)
    }

    /// Returns the line that records it; `None` where the sink had nothing to deliver.
    pub(super) fn settle(&mut self, id: &str, sink: &str) -> Option<Vec<u8>> {
        let number = *self.numbers.get(id)?;
        let entry = self.entries.get_mut(&number)?;
        if !entry.sinks.remove(sink) {
            return None;
        }
        if entry.sinks.is_empty() {
            self.entries.remove(&number);
            self.numbers.remove(id);
        }
        Some(encode_line(&Line::Settled {
            id: id.to_owned(),
            sink: sink.to_owned(),
        }))
    }

    /// Oldest first.
    pub(super) fn undelivered(&self) -> impl Iterator<Item = &Undelivered> {
        self.entries.values()
    }

    /// The shortest lines that add up to this ledger.
    pub(super) fn encode_lines(&self) -> Vec<u8> {
        self.undelivered()
            .flat_map(|undelivered| encode_line(&Line::Undelivered(Box::new(undelivered.clone()))))
            .collect()
    }
}

/// An incident without the fields that only standard output has.
pub(super) fn without_memory_and_arguments(incident: &Incident) -> Incident {
    let mut lean = incident.clone();
    lean.memory.clear();
    for victim in &mut lean.victims {
        victim.cmdline = None;
        victim.environment = None;
    }
    lean
}

/// JSON escapes every control character: no name of a victim's can end a line.
fn encode_line(line: &Line) -> Vec<u8> {
    // Nothing in it can fail to be written: no map has keys that are no strings.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::k8s::fake::incident;

    fn undelivered(n: usize, sinks: &[&str]) -> Undelivered {
        let mut incident = without_memory_and_arguments(&incident());
        incident.id = format!("6f1c0a52-{n}-1");
        incident.stamp_ns = 0;
        incident.victims[0].comm =
            Some("a\n{\"done\":{\"id\":\"6f1c0a52-0-1\"}}\n\u{2028}".to_owned());
        Undelivered {
            sinks: sinks.iter().map(|&sink| sink.to_owned()).collect(),
            incident,
        }
    }

    fn pending(ledger: &Ledger) -> Vec<(String, Vec<String>)> {
        let one = |undelivered: &Undelivered| {
            let sinks = undelivered.sinks.iter().cloned().collect();
            (undelivered.incident.id.clone(), sinks)
        };
        ledger.undelivered().map(one).collect()
    }

    #[test]
    fn an_unsettled_incident_is_read_again() {
        let mut ledger = Ledger::default();
        let mut file = ledger.insert(undelivered(1, &["kubernetes", "bonker"])).0;
        file.extend(ledger.insert(undelivered(2, &["kubernetes"])).0);
        file.extend(ledger.settle("6f1c0a52-1-1", "bonker").unwrap());
        file.extend(ledger.settle("6f1c0a52-2-1", "kubernetes").unwrap());
        assert_eq!(ledger.settle("6f1c0a52-2-1", "kubernetes"), None);
        let read = Ledger::read(&file);
        assert_eq!(pending(&read), pending(&ledger));
        assert_eq!(
            pending(&read),
            [("6f1c0a52-1-1".to_owned(), vec!["kubernetes".to_owned()])]
        );
        assert_eq!(read.undelivered().next(), ledger.undelivered().next());
        assert_eq!(pending(&Ledger::read(&read.encode_lines())), pending(&read));
    }

    #[test]
    fn the_oldest_incident_is_dropped_for_one_too_many() {
        let mut ledger = Ledger::default();
        let dropped: u64 = (0..=ROOM)
            .map(|n| ledger.insert(undelivered(n, &["kubernetes"])).1)
            .sum();
        assert_eq!((dropped, ledger.undelivered().count()), (1, ROOM));
        assert_eq!(pending(&ledger)[0].0, "6f1c0a52-1-1");
    }

    #[test]
    fn no_command_line_is_kept() {
        let mut incident = incident();
        incident.victims[0].cmdline = Some(vec!["--password=penguin".to_owned()]);
        let mut ledger = Ledger::default();
        let sinks = BTreeSet::from(["kubernetes".to_owned()]);
        let incident = without_memory_and_arguments(&incident);
        let (line, _) = ledger.insert(Undelivered { sinks, incident });
        assert!(!String::from_utf8(line).unwrap().contains("penguin"));
    }

    proptest! {
        /// A file that was cut anywhere is the state after some line of it.
        #[test]
        fn any_prefix_is_an_earlier_state(
            steps in proptest::collection::vec((0_usize..6, any::<bool>()), 1..20),
            cut in 0.0_f64..1.0,
        ) {
            let mut ledger = Ledger::default();
            let mut file = Vec::new();
            let mut states = vec![pending(&ledger)];
            for (n, insert) in steps {
                if insert {
                    file.extend(ledger.insert(undelivered(n, &["kubernetes", "bonker"])).0);
                } else {
                    file.extend(ledger.settle(&format!("6f1c0a52-{n}-1"), "bonker").unwrap_or_default());
                }
                states.push(pending(&ledger));
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a small file")]
            let cut = (file.len() as f64 * cut) as usize;
            prop_assert!(states.contains(&pending(&Ledger::read(&file[..cut]))));
            prop_assert_eq!(&pending(&Ledger::read(&file)), states.last().unwrap());
        }

        #[test]
        fn any_bytes_make_a_ledger(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            Ledger::read(&bytes);
        }
    }
}
