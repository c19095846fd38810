//! Where the programs attach, and the types of the kernel's BTF that aya needs for that.

use aya::{EbpfLoader, Endianness};
use aya_obj::btf::BtfKind;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::btf::Btf;
use super::error::BtfError;
use super::offsets::{self, Offsets};
use super::options::Method;
use super::skeleton::{self, NamedType};

/// Where the kernel shows its own BTF.
pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Frees marks. The programs that remember marks are attached only with this one.
pub(super) const FREE: &str = "sched_process_free";
pub(super) const EXIT: &str = "sched_process_exit";
pub(super) const DELIVER: &str = "signal_deliver";
pub(super) const GENERATE: &str = "signal_generate";
/// Records marks. It is required.
pub(super) const MARK: &str = "mark_victim_btf";
/// The program for a kernel without BTF.
pub(super) const CLASSIC: &str = "mark_victim";
/// The program of `own_cgroup`.
pub(super) const OWN_CGROUP: &str = "own_cgroup";
/// The programs of BTF tracepoints.
pub(super) const BTF_PROGRAMS: [&str; 6] = [FREE, EXIT, DELIVER, GENERATE, MARK, OWN_CGROUP];

/// The kernel's function that every OOM goes through.
pub(super) const OUT_OF_MEMORY: &str = "out_of_memory";

/// The tracepoint of a program of [`BTF_PROGRAMS`].
pub(super) fn tracepoint(program: &str) -> &str {
    match program {
        MARK => CLASSIC,
        OWN_CGROUP => EXIT,
        same => same,
    }
}

/// Reads the kernel's BTF; `None` where the method needs none.
pub(super) fn read_kernel_btf(method: Method) -> Result<Option<(aya::Btf, Offsets)>, BtfError> {
    if method == Method::Classic {
        return Ok(None);
    }
    let read = std::fs::read(VMLINUX);
    let kernel = Btf::parse(read.map_err(BtfError::Read)?)?;
    let offsets = offsets::resolve_offsets(&kernel);
    let skeleton = skeleton::build_skeleton(find_attach_points(&kernel));
    let btf = aya::Btf::parse(&skeleton, Endianness::default()).map_err(BtfError::Aya)?;
    Ok(Some((btf, offsets)))
}

/// The types that aya looks up to attach the programs.
fn find_attach_points(kernel: &Btf) -> Vec<NamedType> {
    let typedefs = BTF_PROGRAMS.map(|program| format!("btf_trace_{}", tracepoint(program)));
    let typedefs = typedefs.into_iter().map(|name| (BtfKind::Typedef, name));
    let function = (BtfKind::Func, OUT_OF_MEMORY.to_owned());
    let named = typedefs.chain([function]);
    named
        .filter_map(|(kind, name)| Some((kernel.find(&name, &[kind])?, kind, name)))
        .collect()
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
