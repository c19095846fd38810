//! The journal on a real file system.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::Deliveries;
use super::ledger::{Line, Undelivered};
use super::store::{StateError, Store};
use crate::incident::Incident;
use crate::k8s::fake::incident;
use crate::metrics::JournalCounts;

const WITHIN: Duration = Duration::from_mins(3);

fn numbered(n: usize) -> Incident {
    let mut incident = incident();
    incident.id = format!("6f1c0a52-{n}-1");
    incident
}

fn open(dir: &Path) -> (Deliveries, Vec<String>) {
    let deliveries = Deliveries::open(Some(dir), &JournalCounts::default());
    let left_over = deliveries.left_over.iter();
    let ids = left_over.map(|it| it.incident.id.clone()).collect();
    (deliveries, ids)
}

/// Records an incident and waits until it is written.
fn record_and_wait(deliveries: &Deliveries, n: usize) {
    let (sender, receiver) = channel();
    let then = Box::new(move || sender.send(()).unwrap());
    let line = Line::Undelivered(Box::new(Undelivered {
        sinks: BTreeSet::from(["kubernetes".to_owned()]),
        incident: numbered(n),
    }));
    deliveries.root.send(line, Some(then));
    receiver.recv_timeout(WITHIN).unwrap();
}

#[tokio::test]
async fn the_next_agent_finds_an_unsettled_incident_once() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let (journal, undelivered) = open(&state);
    assert_eq!(undelivered, [""; 0]);
    record_and_wait(&journal, 1);
    record_and_wait(&journal, 2);
    let receipts = journal.receipts("kubernetes");
    receipts.settle("6f1c0a52-1-1");
    drop(receipts);
    journal.finish(WITHIN).await;
    let mode = fs::metadata(state.join("owed.jsonl"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);

    // A line that a killed agent has not finished.
    let mut torn = fs::read(state.join("owed.jsonl")).unwrap();
    torn.extend(br#"{"owed":{"sinks":["kuber"#);
    fs::write(state.join("owed.jsonl"), torn).unwrap();
    let (journal, undelivered) = open(&state);
    assert_eq!(undelivered, ["6f1c0a52-2-1"]);
    record_and_wait(&journal, 3);
    journal.receipts("kubernetes").settle("6f1c0a52-2-1");
    journal.finish(WITHIN).await;
    let (journal, undelivered) = open(&state);
    assert_eq!(undelivered, ["6f1c0a52-3-1"]);
    assert!(matches!(Store::open(&state), Err(StateError::InUse { .. })));
    journal.finish(WITHIN).await;
}

#[tokio::test]
async fn a_file_of_the_past_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let receipts = journal.receipts("kubernetes");
    for n in 0..2000 {
        record_and_wait(&journal, n);
        receipts.settle(&format!("6f1c0a52-{n}-1"));
    }
    drop(receipts);
    record_and_wait(&journal, 5000);
    journal.finish(WITHIN).await;
    let len = fs::metadata(dir.path().join("owed.jsonl")).unwrap().len();
    assert!(len < 400 << 10, "{len} bytes");
    assert_eq!(open(dir.path()).1, ["6f1c0a52-5000-1"]);
}

#[tokio::test]
async fn a_full_disk_delays_no_sink() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    // The next file cannot be made where a directory is, nor the old one be appended to.
    fs::create_dir(dir.path().join("owed.new")).unwrap();
    let counts = journal.root.counts.clone();
    let receipts = journal.receipts("kubernetes");
    for n in 0..2000 {
        record_and_wait(&journal, n);
        receipts.settle(&format!("6f1c0a52-{n}-1"));
    }
    drop(receipts);
    assert!(counts.failed.get() > 0);
    fs::remove_dir(dir.path().join("owed.new")).unwrap();
    record_and_wait(&journal, 3000);
    journal.finish(WITHIN).await;
    assert_eq!(open(dir.path()).1, ["6f1c0a52-3000-1"]);
}
