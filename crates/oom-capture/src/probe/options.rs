use std::path::Path;

/// How the programs are attached to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// [`Btf`](Self::Btf) if the kernel has BTF, else [`Classic`](Self::Classic).
    #[default]
    Auto,
    /// BTF tracepoints: each victim is read in its own context.
    Btf,
    /// [`Btf`](Self::Btf) without fentry and kprobes, for hosts whose policy forbids them: the programs do not see
    /// which limit was hit.
    Tracepoints,
    /// The classic tracepoint: the caller has to read each victim from /proc, which can come too late.
    Classic,
}

/// Options of [`Probe::attach`](super::Probe::attach).
#[derive(Clone, Copy, Debug, Default)]
pub struct AttachOptions<'a> {
    /// How the programs are attached.
    pub method: Method,
    /// Tune this process for speed and memory: the threads that read the ring get a real-time priority and half of
    /// the CPUs each, and the limit of open files is 0 for a moment, which keeps aya from parsing the kernel's BTF.
    pub tuned: bool,
    /// Log the debug messages of the programs.
    pub logging: bool,
    /// Read the victims' environments.
    pub environment: bool,
    /// A directory on a bpffs in which links and maps are pinned: the programs then record while no process runs,
    /// and the next one takes over their ring.
    pub pin: Option<&'a Path>,
}
