//! Where the programs attach, and the types of the kernel's BTF that aya needs for that.

use std::path::Path;

use aya::{EbpfLoader, Endianness};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::btf::{Btf, kind};
use super::error::BtfError;
use super::offsets::{self, Offsets};
use super::options::Method;
use super::skeleton::{self, NamedType};

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

/// Frees marks. The programs that remember marks are attached only with this one.
pub(super) const FREE: BtfProgram = ("sched_process_free", tracepoint!("sched_process_free"));
pub(super) const EXIT: BtfProgram = ("sched_process_exit", tracepoint!("sched_process_exit"));
pub(super) const DELIVER: BtfProgram = ("signal_deliver", tracepoint!("signal_deliver"));
pub(super) const GENERATE: BtfProgram = ("signal_generate", tracepoint!("signal_generate"));
/// Records marks. It is required.
pub(super) const MARK: BtfProgram = ("mark_victim_btf", tracepoint!("mark_victim"));
pub(super) const BTF_PROGRAMS: [BtfProgram; 5] = [FREE, EXIT, DELIVER, GENERATE, MARK];

/// The kernel's function that every OOM goes through.
pub(super) const OUT_OF_MEMORY: &str = "out_of_memory";

/// Reads the kernel's BTF; `None` where the method needs none.
pub(super) fn read_kernel_btf(method: Method) -> Result<Option<(aya::Btf, Offsets)>, BtfError> {
    if method == Method::Classic {
        return Ok(None);
    }
    let path = Path::new(VMLINUX);
    let blob = std::fs::read(path).map_err(|source| BtfError::Read {
        path: path.to_owned(),
        source,
    })?;
    let kernel = Btf::parse(blob)?;
    let offsets = offsets::resolve_offsets(&kernel);
    let skeleton = skeleton::build_skeleton(find_attach_points(&kernel));
    let btf =
        aya::Btf::parse(&skeleton, Endianness::default()).map_err(|source| BtfError::Aya {
            source: Box::new(source),
        })?;
    Ok(Some((btf, offsets)))
}

/// The types that aya looks up to attach the programs.
fn find_attach_points(kernel: &Btf) -> Vec<NamedType<'static>> {
    let tracepoints = BTF_PROGRAMS.iter().filter_map(|(_, tracepoint)| {
        Some(NamedType {
            type_id: kernel.find_typedef(tracepoint.typedef)?,
            kind: kind::TYPEDEF,
            name: tracepoint.typedef,
        })
    });
    let function = kernel
        .find_function(OUT_OF_MEMORY)
        .map(|type_id| NamedType {
            type_id,
            kind: kind::FUNC,
            name: OUT_OF_MEMORY,
        });
    tracepoints.chain(function).collect()
}

/// A loader. A `tuned` one does not parse the kernel's BTF, which this object does not need. aya has no option for
/// that, so no file can be opened for a moment.
pub(super) fn new_loader(tuned: bool) -> EbpfLoader<'static> {
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
        // This costs memory only.
        tracing::debug!(%error, "aya has parsed the kernel's BTF, which is not needed");
    }
    loader.btf(None);
    loader
}
