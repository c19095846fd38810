//! The database: one file, written by one thread, read by any.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{
    Builder, Database, DatabaseError, ReadOnlyTable, ReadTransaction, ReadableDatabase,
    ReadableTable, ReadableTableMetadata, StorageError, TableDefinition, TableError,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service::error_chain::chain;
use tracing::error;

use super::HISTORY_CAPACITY;
use super::error::HistoryError;
use super::head::{Batch, Head, MAX_ANSWERS, Opened};
use super::record::Record;
use super::runs::{Runs, random_id};

/// Swings by sequence, each a [`Record`].
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

enum OpenError {
    /// It can be opened once the reason is gone.
    Other(HistoryError),
    /// It never will be.
    Corrupt(String),
}

type Result<T, E = HistoryError> = std::result::Result<T, E>;

// === impl Store ===

impl Store {
    /// Opens the database in `dir`, or makes it, and begins a run in it.
    pub(super) fn open(dir: &Path) -> Result<(Self, Opened)> {
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
            Ok(opened) => opened,
            Err(OpenError::Other(why)) => return Err(why),
            Err(OpenError::Corrupt(why)) => {
                let aside = dir.join(ASIDE);
                fs::rename(&path, &aside).map_err(fail("move aside", &path))?;
                let aside = aside.display().to_string();
                error!(
                    why,
                    aside, "the history is damaged: it was moved aside, and a new one begins"
                );
                open_database(&path).map_err(|refused| match refused {
                    OpenError::Other(why) => why,
                    OpenError::Corrupt(why) => fail("make", &path)(std::io::Error::other(why)),
                })?
            }
        };
        // The file's name survives a power cut, too.
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(fail("write to the directory", dir))?;
        let (database, opened) = opened;
        Ok((Self(Mutex::new(Some(Arc::new(database)))), opened))
    }

    /// Writes a batch and drops the oldest entries above the limits.
    pub(super) fn write(&self, batch: &Batch) -> Result<()> {
        let head = to_json("the counters", &batch.head)?;
        let mut swings = Vec::with_capacity(batch.swings.len());
        for swing in &batch.swings {
            let record = to_json("a swing", &Record::new(swing))?;
            swings.push((swing.position.sequence, record));
        }
        let Some(database) = self.database() else {
            return Ok(());
        };
        write(&database, &head, &swings, &batch.answers).map_err(transaction_error("write to"))
    }

    /// The last `limit` swings before `sequence`, newest first.
    pub(super) fn swings_before(&self, sequence: u64, limit: usize) -> Result<Vec<(u64, Record)>> {
        self.read(|swings| {
            let range = swings.range(..sequence)?.rev().take(limit);
            range.map(|entry| entry.map(owned)).collect()
        })
    }

    /// The first `limit` swings after `after` and before `before`, oldest first.
    pub(super) fn swings_between(
        &self,
        after: u64,
        before: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Record)>> {
        self.read(|swings| {
            let range = swings.range(after + 1..before)?.take(limit);
            range.map(|entry| entry.map(owned)).collect()
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

    fn read<F>(&self, query: F) -> Result<Vec<(u64, Record)>>
    where
        F: FnOnce(&ReadOnlyTable<u64, &'static [u8]>) -> Result<Vec<(u64, Vec<u8>)>, StorageError>,
    {
        let Some(database) = self.database() else {
            return Ok(Vec::new());
        };
        let transaction = database.begin_read().map_err(transaction_error("read"))?;
        let swings = transaction
            .open_table(SWINGS)
            .map_err(transaction_error("read"))?;
        let found = query(&swings).map_err(transaction_error("read"))?;
        found
            .into_iter()
            .map(|(sequence, record)| Ok((sequence, from_json("a swing", &record)?)))
            .collect()
    }
}

/// Opens the file, reads what it has, and begins a run.
fn open_database(path: &Path) -> Result<(Database, Opened), OpenError> {
    // A damaged file can make the library panic.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create(path)
    }));
    let opened = opened.map_err(|_| OpenError::Corrupt("reading it panics".to_owned()))?;
    let database = opened.map_err(|why| open_error(path, why))?;
    let opened = catch_unwind(AssertUnwindSafe(|| begin_run(&database)));
    let opened = opened.map_err(|_| OpenError::Corrupt("reading it panics".to_owned()))?;
    match opened {
        Ok(opened) => Ok((database, opened)),
        Err(why @ HistoryError::Form { .. }) => Err(OpenError::Corrupt(chain(&why).to_string())),
        Err(why) => Err(OpenError::Other(why)),
    }
}

fn open_error(path: &Path, why: DatabaseError) -> OpenError {
    let path = path.display().to_string();
    match why {
        DatabaseError::DatabaseAlreadyOpen => OpenError::Other(HistoryError::InUse { path }),
        DatabaseError::RepairAborted
        | DatabaseError::Storage(StorageError::Corrupted(_))
        | DatabaseError::UpgradeRequired(_) => OpenError::Corrupt(why.to_string()),
        DatabaseError::Storage(StorageError::Io(io))
            if matches!(
                io.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            OpenError::Corrupt(io.to_string())
        }
        why => {
            let source = Box::new(why.into());
            OpenError::Other(HistoryError::Open { path, source })
        }
    }
}

fn begin_run(database: &Database) -> Result<Opened> {
    let transaction = database.begin_read().map_err(transaction_error("read"))?;
    let head: Head = read_document(&transaction, HEAD, "the counters")?;
    let mut runs: Runs = read_document(&transaction, RUNS, "the runs")?;
    let answers = read_answers(&transaction).map_err(transaction_error("read"))?;
    runs.begin_run(random_id(), head.total);
    let begun = to_json("the runs", &runs)?;
    create_tables(database, &begun).map_err(transaction_error("write to"))?;
    Ok(Opened {
        head,
        runs,
        answers,
    })
}

fn read_answers(transaction: &ReadTransaction) -> Result<Vec<(String, String)>, redb::Error> {
    let table = match transaction.open_table(ANSWERS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(why) => return Err(why.into()),
    };
    let mut answers = Vec::new();
    for entry in table.iter()? {
        let (_, answer) = entry?;
        let (id, outcome) = answer.value();
        answers.push((id.to_owned(), outcome.to_owned()));
    }
    Ok(answers)
}

/// Creates the tables and keeps `runs`.
fn create_tables(database: &Database, runs: &[u8]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(SWINGS)?;
    transaction.open_table(ANSWERS)?;
    transaction.open_table(DOCUMENTS)?.insert(RUNS, runs)?;
    transaction.commit()?;
    Ok(())
}

fn write(
    database: &Database,
    head: &[u8],
    swings: &[(u64, Vec<u8>)],
    answers: &[(String, &str)],
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(SWINGS)?;
        let mut sizes = transaction.open_table(SIZES)?;
        let mut size = sizes.get(SWINGS_BYTES)?.map_or(0, |size| size.value());
        for (sequence, record) in swings {
            size += record.len() as u64;
            table.insert(sequence, record.as_slice())?;
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
        for (order, (id, outcome)) in (next..).zip(answers) {
            table.insert(order, (id.as_str(), *outcome))?;
        }
        while table.len()? > MAX_ANSWERS as u64 {
            table.pop_first()?;
        }
        transaction.open_table(DOCUMENTS)?.insert(HEAD, head)?;
    }
    transaction.commit()?;
    Ok(())
}

fn read_document<T: DeserializeOwned + Default>(
    transaction: &ReadTransaction,
    key: &str,
    what: &'static str,
) -> Result<T> {
    let table = match transaction.open_table(DOCUMENTS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(T::default()),
        Err(why) => return Err(transaction_error("read")(why)),
    };
    let found = table.get(key).map_err(transaction_error("read"))?;
    found.map_or_else(|| Ok(T::default()), |found| from_json(what, found.value()))
}

fn owned(
    (key, value): (redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, &[u8]>),
) -> (u64, Vec<u8>) {
    (key.value(), value.value().to_owned())
}

fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| HistoryError::Form { what, source })
}

fn from_json<T: DeserializeOwned>(what: &'static str, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|source| HistoryError::Form { what, source })
}

fn transaction_error<E: Into<redb::Error>>(attempt: &'static str) -> impl Fn(E) -> HistoryError {
    move |why| HistoryError::Transaction {
        attempt,
        source: Box::new(why.into()),
    }
}
