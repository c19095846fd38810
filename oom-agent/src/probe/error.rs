use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

/// Why nothing can be captured. `Display` leaves the source out: print the chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The object was refused before any program.
    #[error("cannot load the BPF object{}", remedy(.source))]
    Load {
        /// What aya says.
        #[source]
        source: Box<EbpfError>,
    },
    /// The verifier, or a missing right.
    #[error("cannot load the program {program}{}", program_remedy(.source))]
    Program {
        /// Its name.
        program: &'static str,
        /// What aya says, the verifier's log included.
        #[source]
        source: Box<ProgramError>,
    },
    /// The program is in the kernel but is not called.
    #[error("cannot attach the program {program}{}", program_remedy(.source))]
    Attach {
        /// Its name.
        program: &'static str,
        /// What aya says.
        #[source]
        source: Box<ProgramError>,
    },
    /// The object has no such program or map: it is not of this build.
    #[error("the BPF object has no {name}: build it again with `cargo xtask build-ebpf`")]
    Missing {
        /// Of the program or map.
        name: &'static str,
    },
    /// A map cannot be used.
    #[error("cannot open the map {map}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What aya says.
        #[source]
        source: Box<MapError>,
    },
    /// `--probe btf` on a kernel without BTF.
    #[error(
        "the kernel's BTF cannot be used; without `--probe btf` the classic tracepoint would be"
    )]
    Btf {
        /// Why.
        #[source]
        source: BtfError,
    },
    /// The reader of the ring could not start.
    #[error("cannot start the thread that reads the ring buffer")]
    Reader {
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Why a BTF blob gives no offsets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    /// It could not be read: the kernel was built without `CONFIG_DEBUG_INFO_BTF`.
    #[error("cannot read {path}")]
    Read {
        /// Of the blob.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It does not start as BTF of this byte order does.
    #[error("its first word is {found:#x}, which is no BTF of this machine's byte order")]
    Magic {
        /// The first word.
        found: u32,
    },
    /// It ends in the middle of something.
    #[error("it ends within the record at byte {at}")]
    Truncated {
        /// Offset in the blob.
        at: usize,
    },
    /// A kind that is newer than this program.
    #[error("type {type_id} is of kind {kind}, which this version does not know")]
    Kind {
        /// BTF's number of it.
        kind: u32,
        /// Which type.
        type_id: usize,
    },
    /// aya cannot use it.
    #[error("aya cannot use the kernel's BTF")]
    Aya {
        /// What aya says.
        #[source]
        source: Box<aya::BtfError>,
    },
}

const CAPABILITIES: &str =
    ": it takes CAP_BPF and CAP_PERFMON (run as root, or give the container both)";

fn remedy(error: &EbpfError) -> &'static str {
    match error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) if refused(io_error) => {
            CAPABILITIES
        }
        _ => "",
    }
}

fn program_remedy(error: &ProgramError) -> &'static str {
    match error {
        ProgramError::LoadError { io_error, .. } if refused(io_error) => CAPABILITIES,
        ProgramError::SyscallError(error) if refused(&error.io_error) => CAPABILITIES,
        ProgramError::IOError(_) | ProgramError::TracePointError(_) => {
            ": it takes a readable tracefs (`mount -t tracefs nodev /sys/kernel/tracing`)"
        }
        _ => "",
    }
}

fn refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
