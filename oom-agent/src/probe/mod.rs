//! The kernel half's door: BPF programs in, records out. The only room that names aya.

mod btf;
mod error;
mod format;
mod object;
mod offsets;
mod reader;
mod skeleton;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{MapData, PerCpuArray};
use oom_agent_ebpf::drops;

use object::Object;
use reader::Reader;

pub use error::{BtfError, ProbeError};
pub use format::FormatError;
pub use object::{Method, Verified};
pub use reader::Take;

/// Attached programs. Dropping it detaches them.
pub struct Probe {
    object: Object,
    reader: Reader,
    drops: PerCpuArray<MapData, u64>,
    malformed: Arc<AtomicU64>,
    /// What is in use.
    pub method: Method,
    /// Members that this kernel lacks, by the name of the object's global.
    pub missing: Vec<&'static str>,
    /// How `out_of_memory` is probed; or why it is not, and limits are inferred.
    pub out_of_memory: Result<&'static str, Vec<ProbeError>>,
    /// Why BTF is not in use, where it was not by wish.
    pub no_btf: Option<ProbeError>,
    /// The programs that this kernel does not take, of those that more is known by.
    pub refused: Vec<ProbeError>,
    /// Why it is a guess where the classic tracepoint's record has its `pid`.
    pub no_format: Option<FormatError>,
}

/// Records that never reached the pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The ring was full.
    pub ring_full: u64,
    /// A victim could not be remembered between its mark and its end.
    pub marks_full: u64,
    /// A ring item was no record.
    pub malformed: u64,
}

// === impl Probe ===

impl Probe {
    /// Loads the programs, attaches them and gives what they record to the taker that `take` makes
    /// for the method in use; it is dropped when nothing is seen any more. `logging` turns on
    /// the programs' own debug messages.
    pub fn attach(
        method: Method,
        logging: bool,
        take: impl FnOnce(Method) -> Take,
    ) -> Result<Self, ProbeError> {
        let mut object = Object::load(method, logging)?;
        let ring = object.records()?;
        let drops = object.drops()?;
        let logger = logging.then(|| object.logger()).flatten();
        let malformed = Arc::new(AtomicU64::new(0));
        let out_of_memory = object.attach_out_of_memory();
        let method = object.attach(method)?;
        object.forget_btf();
        // What is recorded before the readers start waits in the ring.
        let reader = Reader::start(ring, logger, take(method), Arc::clone(&malformed))
            .map_err(|source| ProbeError::Reader { source })?;
        Ok(Self {
            reader,
            drops,
            malformed,
            method,
            missing: std::mem::take(&mut object.missing),
            no_btf: object.no_btf.take(),
            refused: std::mem::take(&mut object.refused),
            no_format: object.no_format.take(),
            out_of_memory,
            object,
        })
    }

    /// Puts every program through this kernel's verifier and attaches nothing.
    pub fn verify() -> Result<Vec<Verified>, ProbeError> {
        Object::load(Method::Auto, false)?.verify()
    }

    /// Detaches the programs, hands on the records that are still in the ring, drops the taker,
    /// and tells what was lost meanwhile. Blocks as long as the taker does.
    pub fn end(self) -> Lost {
        drop(self.object);
        drop(self.reader);
        let count = |index: u32| {
            self.drops
                .get(&index, 0)
                .map(|cpus| cpus.iter().sum())
                .inspect_err(|error| tracing::warn!(%error, "cannot read the count of drops"))
                .unwrap_or(0)
        };
        Lost {
            ring_full: count(drops::RING_FULL),
            marks_full: count(drops::MARKS_FULL),
            malformed: self.malformed.load(Ordering::Relaxed),
        }
    }
}
