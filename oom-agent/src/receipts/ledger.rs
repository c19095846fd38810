//! Which sinks have yet to deliver which incidents, and the lines that record it. Pure.
//!
//! A line is a JSON object: an incident with the sinks that have to deliver it, or that one of them has
//! settled it. Anything else, a torn last line too, is passed over.

use std::collections::{BTreeSet, VecDeque};

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

/// What changes a ledger: a line of the journal's file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Line {
    #[serde(rename = "owed")]
    Undelivered(Box<Undelivered>),
    #[serde(rename = "done")]
    Settled { id: String, sink: String },
}

/// The state that the lines add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// Oldest first.
    pub(super) undelivered: VecDeque<Undelivered>,
    /// Incidents for which there was no room.
    pub(super) dropped: u64,
}

// === impl Ledger ===

impl Ledger {
    /// Any bytes make a ledger.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut ledger = Self::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(line) = serde_json::from_slice(line) {
                ledger.apply(line);
            }
        }
        // Who wrote the lines has counted them.
        ledger.dropped = 0;
        ledger
    }

    /// False where the line changes nothing: the sink had nothing to deliver.
    pub(super) fn apply(&mut self, line: Line) -> bool {
        match line {
            Line::Undelivered(undelivered) => {
                let id = &undelivered.incident.id;
                self.undelivered.retain(|it| it.incident.id != *id);
                if self.undelivered.len() >= ROOM && self.undelivered.pop_front().is_some() {
                    self.dropped += 1;
                }
                self.undelivered.push_back(*undelivered);
                true
            }
            Line::Settled { id, sink } => {
                let mut all = self.undelivered.iter_mut();
                let entry = all.find(|it| it.incident.id == id);
                let was_undelivered = entry.is_some_and(|it| it.sinks.remove(&sink));
                self.undelivered.retain(|it| !it.sinks.is_empty());
                was_undelivered
            }
        }
    }

    /// The shortest lines that add up to this ledger.
    pub(super) fn encode_lines(&self) -> Vec<u8> {
        let undelivered = self.undelivered.iter().cloned();
        undelivered
            .flat_map(|it| Line::Undelivered(Box::new(it)).encode())
            .collect()
    }
}

// === impl Line ===

impl Line {
    /// JSON escapes every control character: no name of a victim's can end a line.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Nothing in it can fail to be written: no map has keys that are no strings.
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.push(b'\n');
        text
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
        ledger.undelivered.iter().map(one).collect()
    }

    /// Applies a line. Returns it as the file has it, if it changes anything.
    fn write(ledger: &mut Ledger, line: Line) -> Vec<u8> {
        let text = line.encode();
        if ledger.apply(line) { text } else { Vec::new() }
    }

    fn added(n: usize, sinks: &[&str]) -> Line {
        Line::Undelivered(Box::new(undelivered(n, sinks)))
    }

    fn settled(n: usize, sink: &str) -> Line {
        Line::Settled {
            id: format!("6f1c0a52-{n}-1"),
            sink: sink.to_owned(),
        }
    }

    #[test]
    fn an_unsettled_incident_is_read_again() {
        let mut ledger = Ledger::default();
        let mut file = write(&mut ledger, added(1, &["kubernetes", "bonker"]));
        file.extend(write(&mut ledger, added(2, &["kubernetes"])));
        file.extend(write(&mut ledger, settled(1, "bonker")));
        file.extend(write(&mut ledger, settled(2, "kubernetes")));
        assert!(!ledger.apply(settled(2, "kubernetes")));
        let read = Ledger::read(&file);
        assert_eq!(read, ledger);
        assert_eq!(
            pending(&read),
            [("6f1c0a52-1-1".to_owned(), vec!["kubernetes".to_owned()])]
        );
        assert_eq!(pending(&Ledger::read(&read.encode_lines())), pending(&read));
    }

    #[test]
    fn the_oldest_incident_is_dropped_for_one_too_many() {
        let mut ledger = Ledger::default();
        for n in 0..=ROOM {
            ledger.apply(added(n, &["kubernetes"]));
        }
        assert_eq!((ledger.dropped, ledger.undelivered.len()), (1, ROOM));
        assert_eq!(pending(&ledger)[0].0, "6f1c0a52-1-1");
        let file: Vec<u8> = (0..=ROOM)
            .flat_map(|n| added(n, &["kubernetes"]).encode())
            .collect();
        let read = Ledger::read(&file);
        assert_eq!((read.dropped, read.undelivered.len()), (0, ROOM));
    }

    #[test]
    fn no_command_line_is_kept() {
        let mut incident = incident();
        incident.victims[0].cmdline = Some(vec!["--password=penguin".to_owned()]);
        let sinks = BTreeSet::from(["kubernetes".to_owned()]);
        let incident = without_memory_and_arguments(&incident);
        let line = Line::Undelivered(Box::new(Undelivered { sinks, incident })).encode();
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
                let line = if insert { added(n, &["kubernetes", "bonker"]) } else { settled(n, "bonker") };
                file.extend(write(&mut ledger, line));
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
