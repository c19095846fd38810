//! What is taken from the kernel's BTF: the offsets of members, and where the programs attach.

use std::path::Path;

use aya::{EbpfLoader, Endianness};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::btf::{Btf, kind};
use super::error::BtfError;
use super::object::Method;
use super::offsets::{self, Offsets};
use super::skeleton::{self, Named};

/// Where the kernel shows its own BTF.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// A tracepoint, and the typedef that BTF has for it.
#[derive(Clone, Copy)]
pub(super) struct Tracepoint {
    pub(super) name: &'static str,
    pub(super) typedef: &'static str,
}

macro_rules! tracepoint {
    ($name:literal) => {
        Tracepoint {
            name: $name,
            typedef: concat!("btf_trace_", $name),
        }
    };
}

/// A BTF program and its tracepoint.
pub(super) type BtfProgram = (&'static str, Tracepoint);

/// Without it a mark would be remembered for ever, so nothing is where this is not.
pub(super) const FREE: BtfProgram = ("sched_process_free", tracepoint!("sched_process_free"));
pub(super) const EXIT: BtfProgram = ("sched_process_exit", tracepoint!("sched_process_exit"));
pub(super) const DELIVER: BtfProgram = ("signal_deliver", tracepoint!("signal_deliver"));
pub(super) const GENERATE: BtfProgram = ("signal_generate", tracepoint!("signal_generate"));
/// Without it nothing is seen.
pub(super) const MARK: BtfProgram = ("mark_victim_btf", tracepoint!("mark_victim"));
pub(super) const BTF_PROGRAMS: [BtfProgram; 5] = [FREE, EXIT, DELIVER, GENERATE, MARK];

/// The kernel's function that every OOM goes through, and the programs for it.
pub(super) const OUT_OF_MEMORY: &str = "out_of_memory";

pub(super) type Kill = Option<(aya::Btf, Offsets)>;

pub(super) fn kernel_btf(method: Method) -> Result<Kill, BtfError> {
    if method == Method::Classic {
        return Ok(None);
    }
    let path = Path::new(VMLINUX);
    let blob = std::fs::read(path).map_err(|source| BtfError::Read {
        path: path.to_owned(),
        source,
    })?;
    let kernel = Btf::parse(blob)?;
    let offsets = offsets::resolve(&kernel);
    let skeleton = skeleton::blob(attach_points(&kernel));
    let btf =
        aya::Btf::parse(&skeleton, Endianness::default()).map_err(|source| BtfError::Aya {
            source: Box::new(source),
        })?;
    Ok(Some((btf, offsets)))
}

/// What aya looks up in a BTF to attach the programs.
fn attach_points(kernel: &Btf) -> Vec<Named<'static>> {
    let tracepoints = BTF_PROGRAMS.iter().filter_map(|(_, tracepoint)| {
        Some(Named {
            type_id: kernel.typedef(tracepoint.typedef)?,
            kind: kind::TYPEDEF,
            name: tracepoint.typedef,
        })
    });
    let function = kernel.function(OUT_OF_MEMORY).map(|type_id| Named {
        type_id,
        kind: kind::FUNC,
        name: OUT_OF_MEMORY,
    });
    tracepoints.chain(function).collect()
}

/// A loader; a `tuned` one has not parsed the kernel's BTF, which this object has no use for: there is no
/// way to ask for that, so for a moment no file can be opened.
pub(super) fn loader(tuned: bool) -> EbpfLoader<'static> {
    if !tuned {
        return EbpfLoader::new();
    }
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        ..limit
    };
    let limited = setrlimit(Resource::Nofile, none);
    let mut loader = EbpfLoader::new();
    if let Err(error) = limited.and_then(|()| setrlimit(Resource::Nofile, limit)) {
        // It costs memory, and no more.
        tracing::debug!(%error, "aya parsed the kernel's BTF for nothing");
    }
    loader.btf(None);
    loader
}
