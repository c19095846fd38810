//! `--probe`.

use clap::ValueEnum;
use oom_capture::probe::Method;

/// How the programs are attached to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeMethod {
    /// `btf` if the kernel has BTF, else `classic`.
    Auto,
    /// BTF tracepoints: the victim is read in its own context.
    Btf,
    /// `btf` without fentry and kprobes, for hosts whose policy forbids them: the limit that was hit is
    /// taken from `memory.events.local`, or inferred.
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
