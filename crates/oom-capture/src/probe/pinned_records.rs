//! The records of kills that are not reported yet, in pinned maps.
//!
//! A record leaves the ring when it is read, but its incident may be reported half a second later. The pinned maps
//! hold it meanwhile, so that a killed agent has lost nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{HashMap, MapData, MapError};
use oom_agent_ebpf::{Autopsy, KEPT_LEN, Mark, Record, invoked, known};

/// The most stamps of settled kills that are remembered, as their records may come again.
const SETTLED: usize = 1024;

/// The records of one kill, in the order in which the next agent reads them.
const PARTS: [u64; 4] = [MARK, OUTSIDE, EARLY, OWN];
const MARK: u64 = 1;
const OUTSIDE: u64 = 2;
const EARLY: u64 = 3;
const OWN: u64 = 4;

type RecordMap = HashMap<MapData, [u64; 2], [u8; KEPT_LEN]>;
type StampMap = HashMap<MapData, u64, u64>;

/// The pinned maps of records. Each call is one system call for each stamp or record, and waits for nothing.
pub struct PinnedRecords {
    maps: Mutex<Maps>,
    failed: Arc<AtomicU64>,
    /// Keeps other agents from these maps.
    _lock: File,
}

struct Maps {
    /// By the stamp of the mark and the part of the kill.
    records: RecordMap,
    /// Stamps of kills whose lines are written.
    lines_written: StampMap,
    settled: BTreeSet<u64>,
}

/// What an earlier agent left in the pinned maps.
#[derive(Debug, Default)]
pub struct Leftover {
    /// Records of kills that are not settled, those of each kill in their order.
    pub records: Vec<Record>,
    /// The stamps of those kills whose lines are written.
    pub lines_written: BTreeSet<u64>,
    /// The stamps of settled kills, which are not to be reported again.
    pub settled: Vec<u64>,
}

// === impl PinnedRecords ===

impl PinnedRecords {
    pub(super) fn new(
        records: RecordMap,
        lines_written: StampMap,
        failed: Arc<AtomicU64>,
        lock: File,
    ) -> Self {
        Self {
            maps: Mutex::new(Maps {
                records,
                lines_written,
                settled: BTreeSet::new(),
            }),
            failed,
            _lock: lock,
        }
    }

    /// Reads what an earlier agent left. To be called before the first record is kept.
    pub fn read_leftover(&self) -> Leftover {
        let mut maps = self.lock_maps();
        let keys: BTreeSet<[u64; 2]> = maps.records.keys().filter_map(Result::ok).collect();
        let written: BTreeSet<u64> = maps.lines_written.keys().filter_map(Result::ok).collect();
        let unsettled: BTreeSet<u64> = keys.iter().map(|[stamp_ns, _]| *stamp_ns).collect();
        let records = keys
            .iter()
            .filter_map(|key| decode_record(key, &maps.records.get(key, 0).ok()?))
            .collect();
        let settled: Vec<u64> = written.difference(&unsettled).copied().collect();
        maps.settled.extend(&settled);
        Leftover {
            records,
            lines_written: written.intersection(&unsettled).copied().collect(),
            settled,
        }
    }

    /// Keeps a record until its kill is settled. A record without room is counted.
    pub fn keep_record(&self, record: &Record) {
        let key = match record {
            // Of a large group only the listed victims are kept; the others are only counted.
            Record::Mark(mark) if mark.invoked & invoked::COUNTED != 0 => return,
            Record::Mark(mark) => [mark.stamp_ns, MARK],
            Record::Autopsy(autopsy) => [autopsy.mark_ns, autopsy_part(autopsy)],
            // An exit completes its kill at once. An environment may hold secrets.
            Record::Exit(_)
            | Record::InvocationEnd(_)
            | Record::Environment(_)
            | Record::NoVictim(_) => return,
        };
        let bytes = record.as_bytes();
        let mut value = [0; KEPT_LEN];
        if let Some(room) = value.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        let mut maps = self.lock_maps();
        let [stamp_ns, _] = key;
        if !maps.settled.contains(&stamp_ns) {
            let inserted = maps.records.insert(key, value, 0);
            self.count_failure(inserted);
        }
    }

    /// Notes that the lines of these kills are written, so that the next agent does not write them again.
    pub fn note_lines_written(&self, stamps: &[u64]) {
        let mut maps = self.lock_maps();
        for stamp_ns in stamps {
            let inserted = maps.lines_written.insert(stamp_ns, 1, 0);
            self.count_failure(inserted);
        }
    }

    /// Removes the records of these kills: nothing more is to be done for them.
    pub fn settle_kills(&self, stamps: &[u64]) {
        let mut maps = self.lock_maps();
        for stamp_ns in stamps {
            for part in PARTS {
                // Few kills have all parts.
                let _absent = maps.records.remove(&[*stamp_ns, part]);
            }
            if maps.settled.len() >= SETTLED {
                maps.settled.pop_first();
            }
            maps.settled.insert(*stamp_ns);
        }
    }

    fn count_failure(&self, result: Result<(), MapError>) {
        if let Err(error) = result
            // One line is enough for a large group.
            && self.failed.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!(%error, "cannot keep a record: its kill is lost if the agent is killed before it is reported; further failures are only counted");
        }
    }

    fn lock_maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn autopsy_part(autopsy: &Autopsy) -> u64 {
    if autopsy.known & known::FROM_OUTSIDE != 0 {
        OUTSIDE
    } else if autopsy.known & known::UNCONFIRMED != 0 {
        EARLY
    } else {
        OWN
    }
}

fn decode_record([_, part]: &[u64; 2], value: &[u8]) -> Option<Record> {
    let size = match *part {
        MARK => size_of::<Mark>(),
        _ => size_of::<Autopsy>(),
    };
    Record::from_bytes(value.get(..size)?).ok()
}
