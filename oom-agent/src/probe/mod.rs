//! The kernel half's door: BPF programs in, records out. The only room that names aya.

mod btf;
mod drops;
mod error;
mod format;
mod object;
mod offsets;
mod reader;
mod skeleton;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use object::Object;
use reader::Reader;

pub use drops::{Drops, Lost};
pub use error::{BtfError, ProbeError};
pub use format::FormatError;
pub use object::{Method, Verified};
pub use reader::{Liveness, Take};

/// Attached programs. Dropping it detaches them.
pub struct Probe {
    object: Object,
    reader: Reader,
    drops: Drops,
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

// === impl Probe ===

impl Probe {
    /// Loads the programs, attaches them and gives what they record to the taker that `take` makes
    /// for the method in use; it is dropped when nothing is seen any more. `logging` turns on
    /// the programs' own debug messages, `environment` has them read the victims' environments.
    pub fn attach(
        method: Method,
        logging: bool,
        environment: bool,
        take: impl FnOnce(Method) -> Take,
    ) -> Result<Self, ProbeError> {
        let mut object = Object::load(method, logging, environment)?;
        let ring = object.records()?;
        let drops = Drops::new(object.drops()?);
        let logger = logging.then(|| object.logger()).flatten();
        let out_of_memory = match method {
            Method::Tracepoints => Err(Vec::new()),
            _ => object.attach_out_of_memory(),
        };
        let method = object.attach(method)?;
        object.forget_btf();
        // What is recorded before the readers start waits in the ring.
        let reader = Reader::start(ring, logger, take(method), Arc::clone(&drops.malformed))
            .map_err(|source| ProbeError::Reader { source })?;
        Ok(Self {
            reader,
            drops,
            method,
            missing: std::mem::take(&mut object.missing),
            no_btf: object.no_btf.take(),
            refused: std::mem::take(&mut object.refused),
            no_format: object.no_format.take(),
            out_of_memory,
            object,
        })
    }

    /// Puts every program through this kernel's verifier, with all it could do, and attaches nothing.
    pub fn verify() -> Result<Vec<Verified>, ProbeError> {
        Object::load(Method::Auto, false, true)?.verify()
    }

    /// What is lost, at any time; also after the end.
    pub fn drops(&self) -> Drops {
        self.drops.clone()
    }

    /// Whether the ring is read, at any time.
    pub fn liveness(&self) -> Liveness {
        self.reader.liveness()
    }

    /// Detaches the programs, hands on the records that are still in the ring, and drops the taker.
    /// Blocks as long as the taker does.
    pub fn end(self) {
        drop(self.object);
        drop(self.reader);
    }
}
