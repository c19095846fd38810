//! What is owed to whom, and the lines that say so. Pure.
//!
//! A line is a JSON object: an incident with the sinks that it is owed to, or that one of them is
//! done with it. Whatever is no such line, a torn last one too, is passed over.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::incident::Incident;

/// Incidents owed at once; the oldest goes for one more.
pub(super) const DEBTS: usize = 1024;

/// An incident that somebody has not been told of yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// Names of the sinks.
    pub sinks: BTreeSet<String>,
    /// As far as sinks tell of it: without command lines, environments and what memory was made of.
    pub incident: Incident,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Owed(Box<Debt>),
    Done { id: String, sink: String },
}

/// The state that the lines make.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// By when they came.
    debts: BTreeMap<u64, Debt>,
    numbers: BTreeMap<String, u64>,
    next: u64,
}

// === impl Ledger ===

impl Ledger {
    /// Total: any bytes make a ledger.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut ledger = Self::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Line::Owed(debt)) => {
                    ledger.owe(*debt);
                }
                Ok(Line::Done { id, sink }) => {
                    ledger.done(&id, &sink);
                }
                Err(_) => {}
            }
        }
        ledger
    }

    /// Gives the line that says it, and how many debts had to be forgotten for it.
    pub(super) fn owe(&mut self, debt: Debt) -> (Vec<u8>, u64) {
        let id = debt.incident.id.clone();
        let mut forgotten = 0;
        if let Some(number) = self.numbers.remove(&id) {
            self.debts.remove(&number);
        }
        while self.debts.len() >= DEBTS
            && let Some((_, oldest)) = self.debts.pop_first()
        {
            self.numbers.remove(&oldest.incident.id);
            forgotten += 1;
        }
        let line = line(&Line::Owed(Box::new(debt.clone())));
        self.numbers.insert(id, self.next);
        self.debts.insert(self.next, debt);
        self.next += 1;
        (line, forgotten)
    }

    /// Gives the line that says it; `None` where nothing was owed.
    pub(super) fn done(&mut self, id: &str, sink: &str) -> Option<Vec<u8>> {
        let number = *self.numbers.get(id)?;
        let debt = self.debts.get_mut(&number)?;
        if !debt.sinks.remove(sink) {
            return None;
        }
        if debt.sinks.is_empty() {
            self.debts.remove(&number);
            self.numbers.remove(id);
        }
        Some(line(&Line::Done {
            id: id.to_owned(),
            sink: sink.to_owned(),
        }))
    }

    /// All that is owed, oldest first.
    pub(super) fn debts(&self) -> impl Iterator<Item = &Debt> {
        self.debts.values()
    }

    /// The shortest lines that make this ledger.
    pub(super) fn lines(&self) -> Vec<u8> {
        self.debts()
            .flat_map(|debt| line(&Line::Owed(Box::new(debt.clone()))))
            .collect()
    }
}

/// An incident, less what no sink but standard output tells.
pub(super) fn lean(incident: &Incident) -> Incident {
    let mut lean = incident.clone();
    lean.memory.clear();
    for victim in &mut lean.victims {
        victim.cmdline = None;
        victim.environment = None;
    }
    lean
}

/// JSON escapes every control character: no name of a victim's can end a line.
fn line(line: &Line) -> Vec<u8> {
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

    fn debt(n: usize, sinks: &[&str]) -> Debt {
        let mut incident = lean(&incident());
        incident.id = format!("6f1c0a52-{n}-1");
        incident.stamp_ns = 0;
        incident.victims[0].comm =
            Some("a\n{\"done\":{\"id\":\"6f1c0a52-0-1\"}}\n\u{2028}".to_owned());
        Debt {
            sinks: sinks.iter().map(|&sink| sink.to_owned()).collect(),
            incident,
        }
    }

    fn owed(ledger: &Ledger) -> Vec<(String, Vec<String>)> {
        let one = |debt: &Debt| {
            let sinks = debt.sinks.iter().cloned().collect();
            (debt.incident.id.clone(), sinks)
        };
        ledger.debts().map(one).collect()
    }

    #[test]
    fn what_is_owed_until_it_is_done_is_read_again() {
        let mut ledger = Ledger::default();
        let mut file = ledger.owe(debt(1, &["kubernetes", "bonker"])).0;
        file.extend(ledger.owe(debt(2, &["kubernetes"])).0);
        file.extend(ledger.done("6f1c0a52-1-1", "bonker").unwrap());
        file.extend(ledger.done("6f1c0a52-2-1", "kubernetes").unwrap());
        assert_eq!(ledger.done("6f1c0a52-2-1", "kubernetes"), None);
        let read = Ledger::read(&file);
        assert_eq!(owed(&read), owed(&ledger));
        assert_eq!(
            owed(&read),
            [("6f1c0a52-1-1".to_owned(), vec!["kubernetes".to_owned()])]
        );
        assert_eq!(read.debts().next(), ledger.debts().next());
        assert_eq!(owed(&Ledger::read(&read.lines())), owed(&read));
    }

    #[test]
    fn one_more_than_there_is_room_for_takes_the_oldests() {
        let mut ledger = Ledger::default();
        let forgotten: u64 = (0..=DEBTS)
            .map(|n| ledger.owe(debt(n, &["kubernetes"])).1)
            .sum();
        assert_eq!((forgotten, ledger.debts().count()), (1, DEBTS));
        assert_eq!(owed(&ledger)[0].0, "6f1c0a52-1-1");
    }

    #[test]
    fn no_command_line_is_kept() {
        let mut incident = incident();
        incident.victims[0].cmdline = Some(vec!["--password=penguin".to_owned()]);
        let mut ledger = Ledger::default();
        let sinks = BTreeSet::from(["kubernetes".to_owned()]);
        let incident = lean(&incident);
        let (line, _) = ledger.owe(Debt { sinks, incident });
        assert!(!String::from_utf8(line).unwrap().contains("penguin"));
    }

    proptest! {
        /// A file that was cut anywhere owes what it owed after some line of it, and nothing else.
        #[test]
        fn any_prefix_is_a_state_that_was(
            steps in proptest::collection::vec((0_usize..6, any::<bool>()), 1..20),
            cut in 0.0_f64..1.0,
        ) {
            let mut ledger = Ledger::default();
            let mut file = Vec::new();
            let mut states = vec![owed(&ledger)];
            for (n, owe) in steps {
                if owe {
                    file.extend(ledger.owe(debt(n, &["kubernetes", "bonker"])).0);
                } else {
                    file.extend(ledger.done(&format!("6f1c0a52-{n}-1"), "bonker").unwrap_or_default());
                }
                states.push(owed(&ledger));
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a small file")]
            let cut = (file.len() as f64 * cut) as usize;
            prop_assert!(states.contains(&owed(&Ledger::read(&file[..cut]))));
            prop_assert_eq!(&owed(&Ledger::read(&file)), states.last().unwrap());
        }

        #[test]
        fn any_bytes_make_a_ledger(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            Ledger::read(&bytes);
        }
    }
}
