use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use service::error_chain::chain;

use super::pins::PinError;

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
    /// Mostly a missing right: the kernel refuses a program before it has looked at it.
    #[error("cannot load the program {program}{}", right(.source))]
    NotLoaded {
        /// Its name.
        program: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The object and this kernel do not fit together.
    #[error("cannot load the program {program}{}", program_remedy(.source))]
    Program {
        /// Its name.
        program: &'static str,
        /// What aya says.
        #[source]
        source: Box<ProgramError>,
    },
    /// The kernel's verifier does not take a program.
    #[error(
        "this kernel's verifier refuses the program {program} (\"{reason}\"): please report this with what `oom-agent check` and `uname -r` print"
    )]
    Verifier {
        /// Its name.
        program: &'static str,
        /// The verifier's last word.
        reason: String,
        /// All its words.
        log: String,
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
    /// The kernel lets no BPF program read its memory.
    #[error(
        "the kernel is locked down (lockdown=confidentiality): no BPF program may read its memory. With lockdown=integrity on the kernel's command line the agent works; on a node that has to stay as it is, `oom-agent watch-pods` tells what Kubernetes knows"
    )]
    Lockdown {
        /// What was refused.
        #[source]
        source: Box<ProbeError>,
    },
    /// Neither way to see a mark is open.
    #[error("neither tracepoint can be used; the classic one: {}; the BTF one", chain(.classic.as_ref()))]
    Neither {
        /// Why not the classic one.
        classic: Box<ProbeError>,
        /// Why not the BTF one.
        #[source]
        btf: Box<ProbeError>,
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
    /// There is none, or it cannot be read.
    #[error(
        "the kernel's BTF cannot be used: it takes a kernel with CONFIG_DEBUG_INFO_BTF and a readable /sys/kernel/btf/vmlinux"
    )]
    Btf {
        /// Why.
        #[source]
        source: BtfError,
    },
    /// The programs cannot outlive the agent.
    #[error("the programs cannot be pinned")]
    Pin(#[from] PinError),
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

const CAPABILITIES: &str = ": it takes CAP_BPF and CAP_PERFMON, before Linux 5.11 CAP_SYS_RESOURCE too (run as root, or give the container these)";

const TRACEFS: &str =
    ": it takes CAP_PERFMON and a readable tracefs (`mount -t tracefs nodev /sys/kernel/tracing`)";

const RING_BUFFER: &str = ": it takes Linux 5.8 or later, which has BPF ring buffers";

/// Where the kernel shows how far it is locked down, and how it shows the mode in use.
pub(super) const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const CONFIDENTIALITY: &str = "[confidentiality]";

/// As a verifier names the helper that it does not let a program have.
const READ_KERNEL: &str = "bpf_probe_read_kernel#";

/// The longest last word of a verifier that is repeated, in bytes.
const REASON_LEN: usize = 160;

// === impl ProbeError ===

impl ProbeError {
    /// Why a program was not loaded.
    pub(super) fn program(program: &'static str, source: ProgramError) -> Self {
        let (io_error, log) = match source {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => (io_error, verifier_log.to_string()),
            source => {
                return Self::Program {
                    program,
                    source: Box::new(source),
                };
            }
        };
        match last_word(&log) {
            Some(reason) => Self::Verifier {
                program,
                reason: service::escape::truncate(reason, REASON_LEN).to_owned(),
                log,
            },
            None => Self::NotLoaded {
                program,
                source: io_error,
            },
        }
    }

    /// Both ways to see a mark have failed. A missing right is told once: it is the same for both.
    pub(super) fn neither(btf: Self, classic: Self) -> Self {
        if btf.is_refused() {
            return btf;
        }
        Self::Neither {
            classic: Box::new(classic),
            btf: Box::new(btf),
        }
    }

    /// Names lockdown where that is the reason; `state` is what /sys/kernel/security/lockdown holds, empty
    /// where it cannot be read, as in most containers.
    pub(super) fn under_lockdown(self, state: &str) -> Self {
        // Every kernel with BPF ring buffers has this helper, unless it is locked down.
        let no_reads = chain(&self).to_string().contains(READ_KERNEL);
        if no_reads || state.contains(CONFIDENTIALITY) {
            Self::Lockdown {
                source: Box::new(self),
            }
        } else {
            self
        }
    }

    /// Whether it is a right that lacks.
    fn is_refused(&self) -> bool {
        match self {
            Self::NotLoaded { source, .. } => refused(source),
            Self::Program { source, .. } | Self::Attach { source, .. } => {
                program_remedy(source) == CAPABILITIES
            }
            _ => false,
        }
    }
}

/// What a verifier says in the end: not its statistics, nor instructions and registers.
fn last_word(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 4] = ["processed ", "verification time", "stack depth", "old "];
    log.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start)))
}

fn remedy(error: &EbpfError) -> &'static str {
    match error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) if refused(io_error) => {
            CAPABILITIES
        }
        EbpfError::MapError(MapError::CreateError { io_error, .. })
            if io_error.kind() == io::ErrorKind::InvalidInput =>
        {
            RING_BUFFER
        }
        _ => "",
    }
}

fn right(error: &io::Error) -> &'static str {
    if refused(error) { CAPABILITIES } else { "" }
}

fn program_remedy(error: &ProgramError) -> &'static str {
    match error {
        ProgramError::LoadError { io_error, .. } => right(io_error),
        ProgramError::SyscallError(error) if refused(&error.io_error) => CAPABILITIES,
        ProgramError::IOError(_) | ProgramError::TracePointError(_) => TRACEFS,
        _ => "",
    }
}

fn refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(log: &str) -> ProbeError {
        // aya does not name the type of its log; what it does not make of one is empty.
        last_word(log).map_or(ProbeError::Missing { name: "no word" }, |reason| {
            ProbeError::Verifier {
                program: "signal_deliver",
                reason: reason.to_owned(),
                log: log.to_owned(),
            }
        })
    }

    #[test]
    fn a_verifiers_refusal_is_one_sentence_with_its_last_word() {
        let log = "func#0 @0\n0: R1=ctx() R10=fp0\n; let x\n7: (85) call bpf_probe_read_user#112\n\
            R2 min value is negative, either use unsigned or 'var &= const'\n\
            verification time 123 usec\nstack depth 24\n\
            processed 123 insns (limit 1000000) max_states_per_insn 0 total_states 9\n\n";
        let error = refusal(log);
        assert_eq!(
            chain(&error).to_string(),
            "this kernel's verifier refuses the program signal_deliver (\"R2 min value is negative, \
             either use unsigned or 'var &= const'\"): please report this with what `oom-agent check` \
             and `uname -r` print"
        );
    }

    #[test]
    fn a_log_without_words_is_no_verifiers() {
        assert_eq!(last_word(""), None);
        assert_eq!(last_word("\nprocessed 0 insns\n"), None);
    }

    fn syscall(code: i32) -> ProbeError {
        ProbeError::Attach {
            program: "mark_victim",
            source: Box::new(ProgramError::SyscallError(aya::sys::SyscallError {
                call: "perf_event_open",
                io_error: io::Error::from_raw_os_error(code),
            })),
        }
    }

    #[test]
    fn a_kernel_that_is_locked_down_is_named_with_what_works_instead() {
        let told = |error: ProbeError, state| chain(&error.under_lockdown(state)).to_string();
        let remedy = "With lockdown=integrity";
        // Up to 6.11, and from 6.12 on.
        for log in [
            "12: (85) call bpf_probe_read_kernel#113\nunknown func bpf_probe_read_kernel#113\n",
            "program of this type cannot use helper bpf_probe_read_kernel#113\n",
        ] {
            let text = told(refusal(log), "");
            assert!(
                text.contains(remedy) && text.contains("signal_deliver"),
                "{text}"
            );
        }
        let eperm = 1;
        assert!(told(syscall(eperm), "none integrity [confidentiality]\n").contains(remedy));
        for state in [
            "none [integrity] confidentiality\n",
            "[none] integrity confidentiality\n",
            "",
        ] {
            assert!(!told(syscall(eperm), state).contains(remedy), "{state}");
        }
    }

    #[test]
    fn a_missing_right_is_told_once_and_two_reasons_in_one_sentence() {
        let (eperm, enoent) = (1, 2);
        let told = |btf, classic| chain(&ProbeError::neither(btf, classic)).to_string();
        let right = told(syscall(eperm), syscall(eperm));
        assert!(right.contains("CAP_PERFMON"), "{right}");
        assert!(!right.contains("neither"), "{right}");
        let both = told(refusal("no such thing"), syscall(enoent));
        assert!(both.starts_with("neither tracepoint can be used; the classic one: cannot attach"));
        assert!(
            both.contains("refuses the program signal_deliver"),
            "{both}"
        );
    }
}
