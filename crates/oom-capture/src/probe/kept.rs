//! What is kept of kills in pinned maps until they are told, and which ones were.
//!
//! A record leaves the ring when it is taken, an incident may be told half a second later: the
//! records are kept meanwhile, so that an agent that is killed in between has lost nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{HashMap, MapData, MapError};
use oom_agent_ebpf::{Autopsy, KEPT_LEN, Mark, Record, invoked, known};

/// Stamps of kills that are settled, remembered by this agent: their records may come doubled.
const SETTLED: usize = 1024;

/// The records of one kill, in the order in which they are given to the next agent.
const PARTS: [u64; 4] = [MARK, OUTSIDE, EARLY, OWN];
const MARK: u64 = 1;
const OUTSIDE: u64 = 2;
const EARLY: u64 = 3;
const OWN: u64 = 4;

type Untold = HashMap<MapData, [u64; 2], [u8; KEPT_LEN]>;
type Told = HashMap<MapData, u64, u64>;

/// The maps. Every call is one system call a stamp or record, and waits for nobody.
pub struct Kept {
    maps: Mutex<Maps>,
    failed: Arc<AtomicU64>,
    /// No other agent takes these maps while this one still has something to tell.
    _lock: Option<File>,
}

struct Maps {
    untold: Untold,
    told: Told,
    settled: BTreeSet<u64>,
}

/// What an agent finds that another has left.
#[derive(Debug, Default)]
pub struct Left {
    /// Records of kills that are not settled: those of one kill in their order.
    pub records: Vec<Record>,
    /// Of these, the stamps of kills whose lines are written.
    pub lines_written: BTreeSet<u64>,
    /// The stamps of kills that are settled: nothing more is to be told of them.
    pub settled: Vec<u64>,
}

// === impl Kept ===

impl Kept {
    pub(super) fn new(
        untold: Untold,
        told: Told,
        failed: Arc<AtomicU64>,
        lock: Option<File>,
    ) -> Self {
        Self {
            maps: Mutex::new(Maps {
                untold,
                told,
                settled: BTreeSet::new(),
            }),
            failed,
            _lock: lock,
        }
    }

    /// What is there already.
    pub fn left(&self) -> Left {
        let mut maps = self.maps();
        let keys: BTreeSet<[u64; 2]> = maps.untold.keys().filter_map(Result::ok).collect();
        let told: BTreeSet<u64> = maps.told.keys().filter_map(Result::ok).collect();
        let untold: BTreeSet<u64> = keys.iter().map(|[stamp_ns, _]| *stamp_ns).collect();
        let records = keys
            .iter()
            .filter_map(|key| record(key, &maps.untold.get(key, 0).ok()?))
            .collect();
        let settled: Vec<u64> = told.difference(&untold).copied().collect();
        maps.settled.extend(&settled);
        Left {
            records,
            lines_written: told.intersection(&untold).copied().collect(),
            settled,
        }
    }

    /// Keeps a record until its kill is settled. What finds no room is counted.
    pub fn keep(&self, record: &Record) {
        let key = match record {
            // Of a large group as many are kept as are listed; the others are only counted.
            Record::Mark(mark) if mark.invoked & invoked::COUNTED != 0 => return,
            Record::Mark(mark) => [mark.stamp_ns, MARK],
            Record::Autopsy(autopsy) => [autopsy.mark_ns, part(autopsy)],
            // An exit tells its kill at once. An environment may hold secrets: it is not kept.
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
        let mut maps = self.maps();
        let [stamp_ns, _] = key;
        if !maps.settled.contains(&stamp_ns) {
            let kept = maps.untold.insert(key, value, 0);
            self.check(kept);
        }
    }

    /// The lines of these kills were written: no other agent is to write them again.
    pub fn lines_written(&self, stamps: &[u64]) {
        let mut maps = self.maps();
        for stamp_ns in stamps {
            let told = maps.told.insert(stamp_ns, 1, 0);
            self.check(told);
        }
    }

    /// Nothing more is to be done for these kills.
    pub fn settle(&self, stamps: &[u64]) {
        let mut maps = self.maps();
        for stamp_ns in stamps {
            for part in PARTS {
                // Few kills have all the parts.
                let _absent = maps.untold.remove(&[*stamp_ns, part]);
            }
            if maps.settled.len() >= SETTLED {
                maps.settled.pop_first();
            }
            maps.settled.insert(*stamp_ns);
        }
    }

    fn check(&self, done: Result<(), MapError>) {
        if let Err(error) = done {
            // Of a large group one is as good as all.
            if self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(%error, "a kill that is being told would be lost if the agent were killed now; more are only counted");
            }
        }
    }

    fn maps(&self) -> std::sync::MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn part(autopsy: &Autopsy) -> u64 {
    if autopsy.known & known::FROM_OUTSIDE != 0 {
        OUTSIDE
    } else if autopsy.known & known::UNCONFIRMED != 0 {
        EARLY
    } else {
        OWN
    }
}

fn record([_, part]: &[u64; 2], value: &[u8]) -> Option<Record> {
    let size = match *part {
        MARK => size_of::<Mark>(),
        _ => size_of::<Autopsy>(),
    };
    Record::from_bytes(value.get(..size)?).ok()
}
