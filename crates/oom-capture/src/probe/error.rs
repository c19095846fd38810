use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use service::error_chain::chain;

use super::attach_points::VMLINUX;
use super::pins::PinError;

/// Why no kills can be captured. `Display` leaves the source out: print the chain.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    #[error("cannot load the BPF object{}", load_remedy(.0))]
    Load(#[source] Box<EbpfError>),
    #[error("cannot load the program {program}{}", capability_remedy(.source))]
    NotLoaded {
        program: &'static str,
        source: io::Error,
    },
    #[error("cannot {action} the program {program}{}", program_remedy(.source))]
    Program {
        action: &'static str,
        program: &'static str,
        source: Box<ProgramError>,
    },
    #[error(
        "this kernel's verifier refuses the program {program} (\"{reason}\"): please report this with the output of `oom-agent check` and `uname -r`"
    )]
    Verifier {
        program: &'static str,
        reason: String,
        log: String,
    },
    #[error(
        "the kernel is locked down (lockdown=confidentiality): no BPF program may read its memory. With lockdown=integrity on the kernel's command line it works; on a node that has to stay as it is, `oom-agent watch-pods` reports the kills that Kubernetes knows"
    )]
    Lockdown(#[source] Box<ProbeError>),
    #[error("neither tracepoint can be used; the classic one: {}; the BTF one", chain(.classic.as_ref()))]
    Neither {
        classic: Box<ProbeError>,
        #[source]
        btf: Box<ProbeError>,
    },
    #[error("the BPF object has no {name}: build it again with `cargo xtask build-ebpf`")]
    Missing { name: &'static str },
    #[error("cannot open the map {map}")]
    Map {
        map: &'static str,
        source: Box<MapError>,
    },
    #[error(
        "the kernel's BTF cannot be used: it needs a kernel with CONFIG_DEBUG_INFO_BTF and a readable /sys/kernel/btf/vmlinux"
    )]
    Btf(#[from] BtfError),
    #[error("cannot pin the programs")]
    Pin(#[from] PinError),
    #[error("cannot start the thread that reads the ring buffer")]
    Reader(#[source] io::Error),
}

/// Why the kernel's BTF cannot be used. `Display` leaves the source out.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    #[error("cannot read {VMLINUX}")]
    Read(#[source] io::Error),
    #[error("it starts with {found:#x}, which is no BTF of this machine's byte order")]
    Magic { found: u32 },
    #[error("it ends within the record at byte {at}")]
    Truncated { at: usize },
    #[error("type {type_id} is of kind {kind}, which this version does not know")]
    Kind { kind: u32, type_id: usize },
    #[error("aya cannot use the kernel's BTF")]
    Aya(#[source] aya::BtfError),
}

const CAPABILITIES: &str = ": it takes CAP_BPF and CAP_PERFMON, before Linux 5.11 CAP_SYS_RESOURCE too (run as root, or give the container these)";

const TRACEFS: &str =
    ": it takes CAP_PERFMON and a readable tracefs (`mount -t tracefs nodev /sys/kernel/tracing`)";

const RING_BUFFER: &str = ": it takes Linux 5.8 or later, which has BPF ring buffers";

/// The kernel's lockdown modes, with the one in use in brackets.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const CONFIDENTIALITY: &str = "[confidentiality]";

/// The verifier's name for the helper that a kernel in lockdown refuses.
const READ_KERNEL: &str = "bpf_probe_read_kernel#";

/// The longest reason of a verifier that is repeated, in bytes.
const REASON_LEN: usize = 160;

// === impl ProbeError ===

impl ProbeError {
    pub(super) fn from_program(
        action: &'static str,
        program: &'static str,
        source: ProgramError,
    ) -> Self {
        let ProgramError::LoadError {
            io_error: source,
            verifier_log,
        } = source
        else {
            return Self::Program {
                action,
                program,
                source: Box::new(source),
            };
        };
        let log = verifier_log.to_string();
        match verifier_reason(&log) {
            Some(reason) => Self::Verifier {
                program,
                reason: service::escape::truncate(reason, REASON_LEN).to_owned(),
                log,
            },
            None => Self::NotLoaded { program, source },
        }
    }

    /// Both tracepoints have failed. A missing capability is the same for both, so it is reported once.
    pub(super) fn from_both(btf: Self, classic: Self) -> Self {
        if btf.lacks_capability() {
            return btf;
        }
        Self::Neither {
            classic: Box::new(classic),
            btf: Box::new(btf),
        }
    }

    /// Explains the error by lockdown where that is the reason. `state` is the text of [`read_lockdown`].
    pub(super) fn explain_lockdown(self, state: &str) -> Self {
        // Every kernel with BPF ring buffers lets programs use this helper, except in lockdown.
        let no_reads = chain(&self).to_string().contains(READ_KERNEL);
        if no_reads || state.contains(CONFIDENTIALITY) {
            Self::Lockdown(Box::new(self))
        } else {
            self
        }
    }

    fn lacks_capability(&self) -> bool {
        match self {
            Self::NotLoaded { source, .. } => is_denied(source),
            Self::Program { source, .. } => program_remedy(source) == CAPABILITIES,
            _ => false,
        }
    }
}

/// Empty where it cannot be read, as in most containers.
pub(super) fn read_lockdown() -> String {
    std::fs::read_to_string(LOCKDOWN).unwrap_or_default()
}

/// The last line of a verifier's log that is not of its statistics.
fn verifier_reason(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 4] = ["processed ", "verification time", "stack depth", "old "];
    log.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start)))
}

fn load_remedy(error: &EbpfError) -> &'static str {
    match error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) if is_denied(io_error) => {
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

fn capability_remedy(error: &io::Error) -> &'static str {
    if is_denied(error) { CAPABILITIES } else { "" }
}

fn program_remedy(error: &ProgramError) -> &'static str {
    match error {
        ProgramError::LoadError { io_error, .. } => capability_remedy(io_error),
        ProgramError::SyscallError(error) if is_denied(&error.io_error) => CAPABILITIES,
        ProgramError::IOError(_) | ProgramError::TracePointError(_) => TRACEFS,
        _ => "",
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(log: &str) -> ProbeError {
        // aya does not export the type of its log, so no LoadError can be made here.
        verifier_reason(log).map_or(ProbeError::Missing { name: "no reason" }, |reason| {
            ProbeError::Verifier {
                program: "signal_deliver",
                reason: reason.to_owned(),
                log: log.to_owned(),
            }
        })
    }

    #[test]
    fn a_refusal_by_the_verifier_has_its_reason() {
        let log = "func#0 @0\n0: R1=ctx() R10=fp0\n; let x\n7: (85) call bpf_probe_read_user#112\n\
            R2 min value is negative, either use unsigned or 'var &= const'\n\
            verification time 123 usec\nstack depth 24\n\
            processed 123 insns (limit 1000000) max_states_per_insn 0 total_states 9\n\n";
        let error = refusal(log);
        assert_eq!(
            chain(&error).to_string(),
            "this kernel's verifier refuses the program signal_deliver (\"R2 min value is negative, \
             either use unsigned or 'var &= const'\"): please report this with the output of \
             `oom-agent check` and `uname -r`"
        );
    }

    #[test]
    fn a_log_of_statistics_has_no_reason() {
        assert_eq!(verifier_reason(""), None);
        assert_eq!(verifier_reason("\nprocessed 0 insns\n"), None);
    }

    fn syscall(code: i32) -> ProbeError {
        ProbeError::Program {
            action: "attach",
            program: "mark_victim",
            source: Box::new(ProgramError::SyscallError(aya::sys::SyscallError {
                call: "perf_event_open",
                io_error: io::Error::from_raw_os_error(code),
            })),
        }
    }

    #[test]
    fn lockdown_is_named_with_a_remedy() {
        let shown = |error: ProbeError, state| chain(&error.explain_lockdown(state)).to_string();
        let remedy = "With lockdown=integrity";
        // Up to 6.11, and from 6.12 on.
        for log in [
            "12: (85) call bpf_probe_read_kernel#113\nunknown func bpf_probe_read_kernel#113\n",
            "program of this type cannot use helper bpf_probe_read_kernel#113\n",
        ] {
            let text = shown(refusal(log), "");
            assert!(
                text.contains(remedy) && text.contains("signal_deliver"),
                "{text}"
            );
        }
        let eperm = 1;
        assert!(shown(syscall(eperm), "none integrity [confidentiality]\n").contains(remedy));
        for state in [
            "none [integrity] confidentiality\n",
            "[none] integrity confidentiality\n",
            "",
        ] {
            assert!(!shown(syscall(eperm), state).contains(remedy), "{state}");
        }
    }

    #[test]
    fn a_capability_missing_for_both_tracepoints_is_reported_once() {
        let (eperm, enoent) = (1, 2);
        let shown = |btf, classic| chain(&ProbeError::from_both(btf, classic)).to_string();
        let denied = shown(syscall(eperm), syscall(eperm));
        assert!(denied.contains("CAP_PERFMON"), "{denied}");
        assert!(!denied.contains("neither"), "{denied}");
        let both = shown(refusal("no such thing"), syscall(enoent));
        assert!(both.starts_with("neither tracepoint can be used; the classic one: cannot attach"));
        assert!(
            both.contains("refuses the program signal_deliver"),
            "{both}"
        );
    }
}
