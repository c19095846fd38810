//! Loads and attaches the BPF programs and reads their records.

mod attach_points;
mod btf;
mod drops;
mod error;
mod format;
mod object;
mod offsets;
mod options;
mod own_cgroup;
mod pinned_records;
mod pins;
mod programs;
mod reader;
mod skeleton;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use aya::Ebpf;
use aya::programs::links::FdLink;
use service::liveness::Liveness;

use object::Object;
use reader::Reader;

pub use drops::{DropCounters, DropCounts};
pub use error::{BtfError, ProbeError};
pub use format::FormatError;
pub use options::{AttachOptions, Method};
pub use own_cgroup::find_own_cgroup;
pub use pinned_records::{Leftover, PinnedRecords};
pub use pins::{PinError, PinStatus, unpin_all};
pub use programs::VerifiedProgram;
pub use reader::RecordHandler;

/// Attached programs, and the threads that read their records. Dropping it detaches the programs.
pub struct Probe {
    ebpf: Ebpf,
    links: Vec<FdLink>,
    reader: Reader,
    drops: DropCounters,
    /// The method in use; never [`Method::Auto`].
    pub method: Method,
    /// Structure members that this kernel lacks, by the object's names for them. Fields read there are missing.
    pub missing: Vec<&'static str>,
    /// How `out_of_memory` is probed, or why it is not: kills then have no [`OomControl`](crate::OomControl).
    pub out_of_memory: Result<&'static str, Vec<ProbeError>>,
    /// Why [`Method::Auto`] does not use BTF.
    pub btf_error: Option<ProbeError>,
    /// The optional programs that this kernel refuses. Kills have fewer fields without them.
    pub refused: Vec<ProbeError>,
    /// Why the offset of `pid` in the classic tracepoint's record is a guess.
    pub format_error: Option<FormatError>,
    /// Whether the programs are pinned; `None` where [`AttachOptions::pin`] is not set.
    pub pinned: Option<PinStatus>,
}

// === impl Probe ===

impl Probe {
    /// Loads and attaches the programs and passes their records to the handler that `make_handler` returns for
    /// the method in use and the pinned records. The handler is dropped when no more records come.
    pub fn attach(
        options: AttachOptions<'_>,
        make_handler: impl FnOnce(Method, Option<Arc<PinnedRecords>>) -> RecordHandler,
    ) -> Result<Self, ProbeError> {
        Self::attach_any(options, make_handler)
            .map_err(|error| error.explain_lockdown(&error::read_lockdown()))
    }

    fn attach_any(
        options: AttachOptions<'_>,
        make_handler: impl FnOnce(Method, Option<Arc<PinnedRecords>>) -> RecordHandler,
    ) -> Result<Self, ProbeError> {
        let mut object = Object::load(options)?;
        let ring = object.programs.take_map("RECORDS")?;
        let mut drops = DropCounters::new(object.programs.take_map("DROPS")?);
        let logger = options.logging.then(|| object.start_logger()).flatten();
        let out_of_memory = match options.method {
            Method::Tracepoints => Err(Vec::new()),
            _ => object.attach_out_of_memory(),
        };
        let method = object.attach(options.method)?;
        let (pinned, pinned_records) = object.take_over_pins(&mut drops)?;
        let pinned = options.pin.is_some().then_some(pinned);
        // Records that come before the readers start wait in the ring.
        let reader = Reader::start(
            ring,
            logger,
            make_handler(method, pinned_records),
            Arc::clone(&drops.malformed),
            options.tuned,
        )
        .map_err(ProbeError::Reader)?;
        Ok(Self {
            ebpf: object.programs.ebpf,
            links: object.links,
            reader,
            drops,
            method,
            missing: object.missing,
            btf_error: object.btf_error,
            refused: object.refused,
            format_error: object.format_error,
            out_of_memory,
            pinned,
        })
    }

    /// Puts every program with all its options through this kernel's verifier, and attaches none.
    pub fn verify() -> Result<Vec<VerifiedProgram>, ProbeError> {
        let options = AttachOptions {
            tuned: true,
            environment: true,
            ..AttachOptions::default()
        };
        let verified = Object::load(options).and_then(|mut object| object.verify());
        verified.map_err(|error| error.explain_lockdown(&error::read_lockdown()))
    }

    /// The counters of lost records, which can be read after the end too.
    pub fn drops(&self) -> DropCounters {
        self.drops.clone()
    }

    /// Whether the threads that read the ring are alive.
    pub fn liveness(&self) -> Liveness {
        self.reader.liveness()
    }

    /// Detaches the programs that are not pinned, passes on the records that are still in the ring, and drops the
    /// handler. Blocks as long as the handler does.
    pub fn detach(self) {
        drop((self.links, self.ebpf));
        drop(self.reader);
    }
}
