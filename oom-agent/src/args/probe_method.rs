//! `--probe`.

use clap::ValueEnum;
use oom_capture::probe::Method;

/// How the programs hang on the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeMethod {
    /// `btf` where the kernel has BTF, else `classic`.
    Auto,
    /// BTF tracepoints: the victim is read in its own context.
    Btf,
    /// `btf` without anything on the kernel's functions, for hosts whose policy allows neither fentry
    /// nor kprobes: whose limit was hit is told by `memory.events.local`, or inferred.
    Tracepoints,
    /// The classic tracepoint: the victim is read from /proc, which can come too late.
    Classic,
}

impl From<ProbeMethod> for Method {
    fn from(method: ProbeMethod) -> Self {
        match method {
            ProbeMethod::Auto => Self::Auto,
            ProbeMethod::Btf => Self::Btf,
            ProbeMethod::Tracepoints => Self::Tracepoints,
            ProbeMethod::Classic => Self::Classic,
        }
    }
}
