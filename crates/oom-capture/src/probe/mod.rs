//! The kernel half's door: BPF programs in, records out. The only room that names aya.

mod attach_points;
mod btf;
mod drops;
mod error;
mod format;
mod kept;
mod object;
mod offsets;
mod own_cgroup;
mod pins;
mod reader;
mod skeleton;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use object::Object;
use reader::Reader;

pub use drops::{Drops, Lost};
pub use error::{BtfError, ProbeError};
pub use format::FormatError;
pub use kept::{Kept, Left};
pub use object::{Method, Verified};
pub use own_cgroup::own_cgroup;
pub use pins::{PinError, unpin};
pub use reader::Take;

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
    /// What became of the wish to pin them; `None` where there was none.
    pub pinned: Option<Pinned>,
}

/// What is wished for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// How the programs are to hang on the kernel.
    pub method: Method,
    /// Whether to change this process for the sake of speed and memory: the threads that read the ring
    /// get a real-time priority and half of the CPUs each, and the limit of open files is 0 for a moment,
    /// which keeps aya from parsing the kernel's BTF.
    pub tuned: bool,
    /// The programs' own debug messages.
    pub logging: bool,
    /// Have them read the victims' environments.
    pub environment: bool,
    /// Where links and maps are pinned, a directory on a bpffs: the programs then go on recording
    /// while no agent runs, and the next one takes their ring over.
    pub pin: Option<&'a Path>,
}

/// How far the programs outlive the agent.
#[derive(Debug, Default)]
pub struct Pinned {
    /// False where the classic tracepoint is in use, as what it records must be looked up at once, and
    /// where there is no bpffs.
    pub lasting: bool,
    /// Why not, in the latter case.
    pub refused: Option<PinError>,
    /// There was a predecessor, and its ring was taken over.
    pub took_over: bool,
    /// Rings that were removed with what was in them, as their layout was another's.
    pub discarded: u64,
    /// The programs that this kernel keeps attached for as long as the agent lives only.
    pub unpinned: Vec<&'static str>,
}

// === impl Probe ===

impl Probe {
    /// Loads the programs, attaches them and gives what they record to the taker that `take` makes
    /// for the method in use and what is kept in pinned maps; it is dropped when nothing is seen
    /// any more.
    pub fn attach(
        wanted: Wanted<'_>,
        take: impl FnOnce(Method, Option<Arc<Kept>>) -> Take,
    ) -> Result<Self, ProbeError> {
        Self::attach_any(wanted, take).map_err(|error| error.under_lockdown(&lockdown()))
    }

    fn attach_any(
        wanted: Wanted<'_>,
        take: impl FnOnce(Method, Option<Arc<Kept>>) -> Take,
    ) -> Result<Self, ProbeError> {
        let mut object = Object::load(wanted)?;
        let ring = object.records()?;
        let mut drops = Drops::new(object.drops()?);
        let logger = wanted.logging.then(|| object.logger()).flatten();
        let out_of_memory = match wanted.method {
            Method::Tracepoints => Err(Vec::new()),
            _ => object.attach_out_of_memory(),
        };
        let method = object.attach(wanted.method)?;
        let (pinned, kept) = object.keep(&mut drops)?;
        let pinned = wanted.pin.is_some().then_some(pinned);
        object.forget_btf();
        // What is recorded before the readers start waits in the ring.
        let reader = Reader::start(
            ring,
            logger,
            take(method, kept),
            Arc::clone(&drops.malformed),
            wanted.tuned,
        )
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
            pinned,
            object,
        })
    }

    /// Puts every program through this kernel's verifier, with all it could do, and attaches nothing.
    pub fn verify() -> Result<Vec<Verified>, ProbeError> {
        let wanted = Wanted {
            method: Method::Auto,
            tuned: true,
            logging: false,
            environment: true,
            pin: None,
        };
        let verified = Object::load(wanted).and_then(|mut object| object.verify());
        verified.map_err(|error| error.under_lockdown(&lockdown()))
    }

    /// What is lost, at any time; also after the end.
    pub fn drops(&self) -> Drops {
        self.drops.clone()
    }

    /// Whether the ring is read, at any time.
    pub fn liveness(&self) -> service::liveness::Liveness {
        self.reader.liveness()
    }

    /// Detaches the programs that are not pinned, hands on the records that are still in the ring, and drops the taker.
    /// Blocks as long as the taker does.
    pub fn end(self) {
        drop(self.object);
        drop(self.reader);
    }
}

fn lockdown() -> String {
    std::fs::read_to_string(error::LOCKDOWN).unwrap_or_default()
}
