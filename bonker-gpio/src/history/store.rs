//! The database: one file, written by one thread, read by any.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{
    AccessGuard, Builder, Database, ReadOnlyTable, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, StorageError, TableDefinition,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service::error_chain::chain;
use tracing::error;

use super::HISTORY_CAPACITY;
use super::error::HistoryError;
use super::head::{Batch, Head, MAX_ANSWERS};
use super::runs::{Runs, random_id};
use super::shared::State;
use super::swing::Swing;

/// Swings by sequence, each a [`Swing`].
const SWINGS: TableDefinition<u64, &[u8]> = TableDefinition::new("swings");

/// Ids by the order they were answered in, and the names of their outcomes.
const ANSWERS: TableDefinition<u64, (&str, &str)> = TableDefinition::new("answers");

/// [`Head`] and [`Runs`].
const DOCUMENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("documents");
const HEAD: &str = "head";
const RUNS: &str = "runs";

/// Bytes of all swings.
const SIZES: TableDefinition<&str, u64> = TableDefinition::new("sizes");
const SWINGS_BYTES: &str = "swings";

/// Bytes of swings in the database, beside [`HISTORY_CAPACITY`].
const MAX_BYTES: u64 = 32 << 20;

/// The database's cache, in bytes.
const CACHE_BYTES: usize = 4 << 20;

const FILE: &str = "history.redb";
const ASIDE: &str = "history.redb.corrupt";

pub(super) struct Store(Mutex<Option<Arc<Database>>>);

type Result<T, E = redb::Error> = std::result::Result<T, E>;

// === impl Store ===

impl Store {
    /// Opens the database in `dir`, or makes it, and begins a run in it.
    pub(super) fn open(dir: &Path) -> Result<(Self, State), HistoryError> {
        let fail = |attempt, path: &Path| {
            let path = path.display().to_string();
            move |source| HistoryError::Directory {
                attempt,
                path,
                source,
            }
        };
        fs::create_dir_all(dir).map_err(fail("make the directory", dir))?;
        let path = dir.join(FILE);
        let opened = match open_database(&path) {
            Err(why) if is_damage(&why) => {
                let aside = dir.join(ASIDE);
                fs::rename(&path, &aside).map_err(fail("move aside", &path))?;
                let (why, aside) = (chain(&why).to_string(), aside.display().to_string());
                error!(
                    why,
                    aside, "the history is damaged: it was moved aside, and a new one begins"
                );
                open_database(&path)
            }
            opened => opened,
        };
        let (database, state) = opened.map_err(|why| {
            let path = path.display().to_string();
            match why {
                redb::Error::DatabaseAlreadyOpen => HistoryError::InUse { path },
                why => HistoryError::Open {
                    path,
                    source: Box::new(why),
                },
            }
        })?;
        // The file's name survives a power cut, too.
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(fail("write to the directory", dir))?;
        Ok((Self(Mutex::new(Some(Arc::new(database)))), state))
    }

    /// Writes a batch and drops the oldest entries above the limits.
    pub(super) fn write(&self, batch: &Batch) -> Result<()> {
        let Some(database) = self.database() else {
            return Ok(());
        };
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(SWINGS)?;
            let mut sizes = transaction.open_table(SIZES)?;
            let mut size = sizes.get(SWINGS_BYTES)?.map_or(0, |size| size.value());
            for swing in &batch.swings {
                let record = to_json(swing)?;
                size += record.len() as u64;
                table.insert(swing.position.sequence, record.as_slice())?;
            }
            while table.len()? > HISTORY_CAPACITY || size > MAX_BYTES {
                let Some((_, oldest)) = table.pop_first()? else {
                    break;
                };
                size = size.saturating_sub(oldest.value().len() as u64);
            }
            sizes.insert(SWINGS_BYTES, size)?;
            let mut table = transaction.open_table(ANSWERS)?;
            let next = table.last()?.map_or(0, |(last, _)| last.value() + 1);
            for (order, (id, outcome)) in (next..).zip(&batch.answers) {
                table.insert(order, (id.as_str(), *outcome))?;
            }
            while table.len()? > MAX_ANSWERS as u64 {
                table.pop_first()?;
            }
            let head = to_json(&batch.head)?;
            let mut documents = transaction.open_table(DOCUMENTS)?;
            documents.insert(HEAD, head.as_slice())?;
        }
        Ok(transaction.commit()?)
    }

    /// The last `limit` swings before `sequence`, newest first.
    pub(super) fn swings_before(&self, sequence: u64, limit: usize) -> Result<Vec<Swing>> {
        self.read(|swings| {
            swings
                .range(..sequence)?
                .rev()
                .take(limit)
                .map(swing)
                .collect()
        })
    }

    /// The first `limit` swings after `after` and before `before`, oldest first.
    pub(super) fn swings_between(
        &self,
        after: u64,
        before: u64,
        limit: usize,
    ) -> Result<Vec<Swing>> {
        self.read(|swings| {
            swings
                .range(after + 1..before)?
                .take(limit)
                .map(swing)
                .collect()
        })
    }

    pub(super) fn close(&self) {
        let mut database = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A read under way closes it a little later.
        let closed = database
            .take()
            .and_then(Arc::into_inner)
            .map(Database::close);
        if let Some(Err(why)) = closed {
            error!(error = %chain(&why), "cannot close the history");
        }
    }

    /// Not locked while it is used: reads do not wait for writes.
    fn database(&self) -> Option<Arc<Database>> {
        let database = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        database.clone()
    }

    fn read(
        &self,
        query: impl FnOnce(&ReadOnlyTable<u64, &'static [u8]>) -> Result<Vec<Swing>>,
    ) -> Result<Vec<Swing>> {
        match self.database() {
            Some(database) => query(&database.begin_read()?.open_table(SWINGS)?),
            None => Ok(Vec::new()),
        }
    }
}

/// Opens the file, reads what it has, and begins a run.
fn open_database(path: &Path) -> Result<(Database, State)> {
    // A damaged file can make the library panic.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create(path)?;
        let state = begin_run(&database)?;
        Ok((database, state))
    }));
    opened.unwrap_or_else(|_| Err(redb::Error::Corrupted("reading it panics".to_owned())))
}

/// It can never be opened.
fn is_damage(why: &redb::Error) -> bool {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    match why {
        redb::Error::RepairAborted
        | redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_) => true,
        redb::Error::Io(io) => matches!(io.kind(), InvalidData | UnexpectedEof),
        _ => false,
    }
}

fn begin_run(database: &Database) -> Result<State> {
    let transaction = database.begin_write()?;
    let state = {
        transaction.open_table(SWINGS)?;
        let mut documents = transaction.open_table(DOCUMENTS)?;
        let head: Head = document(&documents, HEAD)?;
        let mut runs: Runs = document(&documents, RUNS)?;
        runs.begin_run(random_id(), head.total);
        documents.insert(RUNS, to_json(&runs)?.as_slice())?;
        let answers = transaction.open_table(ANSWERS)?;
        let owned = |entry: Result<(_, AccessGuard<'_, (&str, &str)>), StorageError>| {
            let (_, answer) = entry?;
            let (id, outcome) = answer.value();
            Ok((id.to_owned(), outcome.to_owned()))
        };
        let answers = answers.iter()?.map(owned).collect::<Result<_>>()?;
        State::from_database(head, runs, answers)
    };
    transaction.commit()?;
    Ok(state)
}

fn document<T: DeserializeOwned + Default>(
    documents: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<T> {
    let found = documents.get(key)?;
    found.map_or_else(|| Ok(T::default()), |found| from_json(found.value()))
}

fn swing(
    entry: Result<(AccessGuard<'_, u64>, AccessGuard<'_, &[u8]>), StorageError>,
) -> Result<Swing> {
    let (sequence, record) = entry?;
    let mut swing: Swing = from_json(record.value())?;
    swing.position.sequence = sequence.value();
    Ok(swing)
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|why| redb::Error::Corrupted(why.to_string()))
}

/// What is of another form than this version's counts as damage.
fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|why| redb::Error::Corrupted(why.to_string()))
}
