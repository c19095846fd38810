//! When the kernel marked each victim, and when each tool wrote a line: by programs of the
//! benchmark's own.

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData};
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf, EbpfLoader};

use xtask::workspace;

/// The number of write(2), and where `struct pt_regs` has its third argument.
#[cfg(target_arch = "x86_64")]
const WRITE: (u32, u32) = (1, 96);
#[cfg(target_arch = "aarch64")]
const WRITE: (u32, u32) = (64, 16);

/// The programs, and the tracepoints they are for.
const PROGRAMS: [(&str, &str); 2] = [("stamp", "mark_victim"), ("write", "sys_enter")];

/// Stamps every mark from now on. Attached before any tool is, it runs before all of theirs.
pub(super) struct Stamps {
    marks: HashMap<MapData, u32, u64>,
    writes: HashMap<MapData, u32, u64>,
    /// Holds the programs attached.
    _object: Ebpf,
}

impl Stamps {
    pub(super) fn start() -> Result<Self> {
        let path = workspace::bench_ebpf_object();
        let btf = Btf::from_sys_fs().context("read the kernel's BTF")?;
        let (number, length) = WRITE;
        let mut object = EbpfLoader::new()
            .override_global("WRITE", &number, true)
            .override_global("LENGTH", &length, true)
            .load_file(&path)
            .with_context(|| format!("load {}", path.display()))?;
        for (name, tracepoint) in PROGRAMS {
            attach(&mut object, name, tracepoint, &btf)?;
        }
        let map = |object: &mut Ebpf, name: &str| -> Result<HashMap<MapData, u32, u64>> {
            let map: Map = object
                .take_map(name)
                .with_context(|| format!("the map {name}"))?;
            map.try_into()
                .with_context(|| format!("open the map {name}"))
        };
        Ok(Self {
            marks: map(&mut object, "STAMPS")?,
            writes: map(&mut object, "WRITTEN")?,
            _object: object,
        })
    }

    /// From now on its lines are stamped.
    pub(super) fn watch(&mut self, pid: u32) -> Result<()> {
        self.writes
            .insert(pid, 0, 0)
            .with_context(|| format!("watch what process {pid} writes"))
    }

    /// When the last OOM that this process set off had its victim marked: `CLOCK_MONOTONIC`, in ns.
    pub(super) fn mark_ns(&self, pid: u32) -> Option<u64> {
        self.marks.get(&pid, 0).ok()
    }

    /// When that process began to write a line last.
    pub(super) fn write_ns(&self, pid: u32) -> Option<u64> {
        self.writes.get(&pid, 0).ok()
    }
}

/// Attaches one of the benchmark's programs.
pub(super) fn attach<'a>(
    object: &'a mut Ebpf,
    name: &str,
    tracepoint: &str,
    btf: &Btf,
) -> Result<&'a mut BtfTracePoint> {
    let program = object.program_mut(name);
    let program: &mut BtfTracePoint = program
        .with_context(|| format!("the benchmark's program {name}"))?
        .try_into()
        .context("a BTF tracepoint's program")?;
    program
        .load(tracepoint, btf)
        .and_then(|()| program.attach())
        .with_context(|| format!("attach a program to {tracepoint}"))?;
    Ok(program)
}
