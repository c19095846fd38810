//! The BPF object: loaded with this kernel's offsets, its programs put through the verifier.

use std::sync::Arc;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::links::FdLink;
use aya::programs::{BtfTracePoint, FEntry, FExit, KProbe, Program, ProgramError, TracePoint};
use aya_log::EbpfLogger;
use oom_agent_ebpf::{CLASSIC_PID_OFFSET, in_use};

use super::attach_points::{
    BTF_PROGRAMS, BtfProgram, DELIVER, EXIT, FREE, GENERATE, MARK, OUT_OF_MEMORY, kernel_btf,
    loader,
};
use super::drops::Drops;
use super::error::ProbeError;
use super::format::{self, FormatError};
use super::kept::Kept;
use super::offsets::Offsets;
use super::own_cgroup::PROGRAM as OWN_CGROUP;
use super::pins::{self, PinError, Pins};
use super::{Pinned, Wanted};

/// The program for a kernel without BTF.
const CLASSIC_PROGRAM: &str = "mark_victim";

/// The map that says which programs are attached.
const IN_USE: &str = "IN_USE";

/// What is built in. Made by `cargo xtask build-ebpf`.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/oom-agent-ebpf.o"));

/// The programs for [`OUT_OF_MEMORY`].
const FENTRY_PROGRAM: &str = "out_of_memory_fentry";
const KPROBE_PROGRAM: &str = "out_of_memory";

/// The programs for its return.
const FEXIT_PROGRAM: &str = "out_of_memory_fexit";
const KRETPROBE_PROGRAM: &str = "out_of_memory_return";

/// Maps of which the oldest entries make room, and for how many there is room.
const LRU_MAPS: [(&str, u32); 2] = [("MARKED", 4096), ("TOLD", 1024)];
/// How many more the kernel keeps aside for each CPU: `LOCAL_FREE_TARGET` of its
/// `kernel/bpf/bpf_lru_list.c`.
const ASIDE: u32 = 128;

/// Bytes of the ring that has environments, too: of 8 KiB each.
const RING_WITH_ENVIRONMENTS: u32 = 8 << 20;
/// A group of 600 makes less than that, with the short layout of `oom:mark_victim` too.
const RING: u32 = 4 << 20;

/// How the programs are attached to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
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

/// An object in the kernel, with nothing attached yet.
pub(super) struct Object {
    pub(super) ebpf: Ebpf,
    /// What aya needs of the kernel's BTF; `None` means the classic tracepoint.
    btf: Option<aya::Btf>,
    /// Members that this kernel lacks.
    pub(super) missing: Vec<&'static str>,
    /// Why BTF is not used, where `Auto` gave it up.
    pub(super) no_btf: Option<ProbeError>,
    /// The programs that this kernel does not take, of those that more is known by.
    pub(super) refused: Vec<ProbeError>,
    /// Why the offset of the classic record's `pid` is a guess.
    pub(super) no_format: Option<FormatError>,
    /// Where all that is to outlive this is; `None` where nothing is.
    pins: Option<Pins>,
    /// Why nothing is pinned, where that was wished for.
    no_pins: Option<PinError>,
    discarded: u64,
    /// The bits of [`in_use`].
    in_use: u32,
}

/// What the verifier made of one program.
#[derive(Debug)]
pub struct Verified {
    /// Its name in the object.
    pub program: &'static str,
    /// Instructions that the verifier walked through; the kernel tells from 5.16 on.
    pub verified_instructions: Option<u32>,
    /// Size of the machine code it became, in bytes; 0 where the JIT is off.
    pub jited_bytes: u32,
    /// Names of the maps it uses.
    pub maps: Vec<String>,
}

// === impl Object ===

impl Object {
    /// Creates the maps and relocates the programs; none is in the kernel after this.
    pub(super) fn load(wanted: Wanted<'_>) -> Result<Self, ProbeError> {
        let Wanted {
            tuned,
            method,
            logging,
            environment,
            pin,
        } = wanted;
        let mut loader = loader(tuned);
        let (btf, no_btf) = match kernel_btf(method) {
            Ok(found) => (found, None),
            Err(source) if matches!(method, Method::Btf | Method::Tracepoints) => {
                return Err(ProbeError::Btf { source });
            }
            Err(source) => (None, Some(ProbeError::Btf { source })),
        };
        let (btf, offsets) = btf.unzip();
        let offsets = offsets.unwrap_or(Offsets {
            globals: Vec::new(),
            missing: Vec::new(),
        });

        let level: u8 = if logging { u8::MAX } else { 0 };
        loader.override_global(aya_log::LEVEL, &level, true);
        let (pid, no_format) = match format::mark_victim_pid() {
            Ok(offset) => (offset, None),
            Err(error) => (CLASSIC_PID_OFFSET, Some(error)),
        };
        loader.override_global("CLASSIC_PID", &pid, true);
        let environment = u32::from(environment);
        loader.override_global("READ_ENVIRONMENT", &environment, true);
        let ring = if environment == 1 {
            RING_WITH_ENVIRONMENTS
        } else {
            RING
        };
        loader.map_max_entries("RECORDS", ring);
        let cpus = aya::util::nr_cpus().map_or(1, |cpus| u32::try_from(cpus).unwrap_or(1));
        for (name, entries) in LRU_MAPS {
            let aside = cpus.saturating_mul(ASIDE);
            loader.map_max_entries(name, entries.saturating_add(aside));
        }
        let opened = pin.map(|root| Pins::open(root, ring)).transpose();
        let (mut pins, no_pins) = match opened {
            Ok(pins) => (pins, None),
            // A node without a bpffs is told of all but what is killed during a restart.
            Err(error @ PinError::NotBpffs { .. }) => (None, Some(error)),
            Err(error) => return Err(error.into()),
        };
        let mut discarded = 0;
        if let Some(classic) = pins.as_mut().filter(|_| btf.is_none()) {
            classic.discard()?;
            discarded = classic.discarded;
            pins = None;
        }
        if let Some(pins) = &pins {
            for name in pins::MAPS {
                loader.map_pin_path(name, pins.map(name));
            }
        } else {
            // Nobody keeps anything: no memory for it.
            loader.map_max_entries("UNTOLD", 1);
            loader.map_max_entries("TOLD", 1);
        }
        for (global, value) in &offsets.globals {
            loader.override_global(global, value, true);
        }
        let ebpf = loader.load(OBJECT).map_err(|source| ProbeError::Load {
            source: Box::new(source),
        })?;
        drop(loader);
        Ok(Self {
            ebpf,
            btf,
            missing: offsets.missing,
            no_btf,
            refused: Vec::new(),
            no_format,
            pins,
            no_pins,
            discarded,
            in_use: 0,
        })
    }

    /// Puts every program that this kernel can take through the verifier, the classic one too.
    pub(super) fn verify(&mut self) -> Result<Vec<Verified>, ProbeError> {
        let mut verified = Vec::new();
        if self.btf.is_some() {
            for program in BTF_PROGRAMS {
                self.load_btf_program(program)?;
                verified.push(self.describe(program.0)?);
            }
            self.load_btf_program((OWN_CGROUP, EXIT.1))?;
            verified.push(self.describe(OWN_CGROUP)?);
        }
        self.load_classic_program()?;
        verified.push(self.describe(CLASSIC_PROGRAM)?);
        Ok(verified)
    }

    /// Hangs a program on `out_of_memory`, which tells whose limit was hit: by fentry, else by a
    /// kprobe. Needs the offsets, so the kernel's BTF. To be called before [`attach`](Self::attach).
    pub(super) fn attach_out_of_memory(&mut self) -> Result<&'static str, Vec<ProbeError>> {
        let Some(btf) = &self.btf else {
            return Err(Vec::new());
        };
        let fentry = program_mut::<FEntry>(&mut self.ebpf, FENTRY_PROGRAM).and_then(|program| {
            program
                .load(OUT_OF_MEMORY, btf)
                .and_then(|()| program.attach())
                .and_then(|link| pinnable(self.pins.as_ref(), || program.take_link(link)))
                .map_err(|source| attach_error(FENTRY_PROGRAM, source))
        });
        let no_fentry = match fentry {
            Ok(link) => {
                self.pin(FENTRY_PROGRAM, link)
                    .map_err(|error| vec![error])?;
                let returns = self.attach_fexit();
                self.note_in_use(in_use::RETURN, returns);
                return Ok("fentry");
            }
            Err(error) => error,
        };
        match self.attach_kprobe(KPROBE_PROGRAM) {
            Ok(()) => {
                let returns = self.attach_kprobe(KRETPROBE_PROGRAM);
                self.note_in_use(in_use::RETURN, returns);
                Ok("kprobe")
            }
            Err(no_kprobe) => Err(vec![no_fentry, no_kprobe]),
        }
    }

    fn attach_fexit(&mut self) -> Result<(), ProbeError> {
        let Some(btf) = &self.btf else {
            return Ok(());
        };
        let program: &mut FExit = program_mut(&mut self.ebpf, FEXIT_PROGRAM)?;
        let link = program
            .load(OUT_OF_MEMORY, btf)
            .and_then(|()| program.attach())
            .and_then(|link| pinnable(self.pins.as_ref(), || program.take_link(link)))
            .map_err(|source| attach_error(FEXIT_PROGRAM, source))?;
        self.pin(FEXIT_PROGRAM, link)
    }

    fn attach_kprobe(&mut self, name: &'static str) -> Result<(), ProbeError> {
        let program: &mut KProbe = program_mut(&mut self.ebpf, name)?;
        program
            .load()
            .and_then(|()| program.attach(OUT_OF_MEMORY, 0))
            .map_err(|source| attach_error(name, source))?;
        // Its link is one of the kernel's from 5.15 on only, and there is mostly fentry there.
        if let Some(pins) = &mut self.pins {
            pins.unpinned.push(name);
        }
        Ok(())
    }

    /// A program that this kernel refuses costs what it is for, and no more.
    fn note_in_use(&mut self, bit: u32, attached: Result<(), ProbeError>) {
        match attached {
            Ok(()) => self.in_use |= bit,
            Err(error) => self.refused.push(error),
        }
    }

    /// Loads and attaches what this kernel can take. They are detached when this is dropped.
    pub(super) fn attach(&mut self, wanted: Method) -> Result<Method, ProbeError> {
        if self.btf.is_some() {
            match self.attach_btf() {
                Ok(()) => return Ok(Method::Btf),
                Err(error) if matches!(wanted, Method::Btf | Method::Tracepoints) => {
                    return Err(error);
                }
                Err(error) => self.no_btf = Some(error),
            }
        }
        // What the classic tracepoint records must be looked up at once: it cannot wait.
        if let Some(mut pins) = self.pins.take() {
            pins.discard()?;
            self.discarded = pins.discarded;
        }
        self.attach_classic()
            .map_err(|classic| match self.no_btf.take() {
                Some(btf) => ProbeError::neither(btf, classic),
                None => classic,
            })?;
        Ok(Method::Classic)
    }

    fn attach_btf(&mut self) -> Result<(), ProbeError> {
        // Where this is refused the others are of no use.
        self.load_btf_program(MARK)?;
        let free = self.load_and_attach(FREE);
        self.note_in_use(in_use::FREE, free);
        if self.in_use & in_use::FREE != 0 {
            for (program, bit) in [(EXIT, 0), (GENERATE, in_use::SENT), (DELIVER, 0)] {
                let attached = self.load_and_attach(program);
                self.note_in_use(bit, attached);
            }
        }
        self.tell_in_use()?;
        // Marks come last, so that no victim is marked that nobody examines.
        self.attach_btf_program(MARK)
    }

    fn load_and_attach(&mut self, program: BtfProgram) -> Result<(), ProbeError> {
        self.load_btf_program(program)?;
        self.attach_btf_program(program)
    }

    fn attach_btf_program(&mut self, (program, _): BtfProgram) -> Result<(), ProbeError> {
        let loaded: &mut BtfTracePoint = program_mut(&mut self.ebpf, program)?;
        let link = loaded
            .attach()
            .and_then(|link| pinnable(self.pins.as_ref(), || loaded.take_link(link)))
            .map_err(|source| attach_error(program, source))?;
        self.pin(program, link)
    }

    fn pin<L: Into<FdLink>>(
        &self,
        program: &'static str,
        link: Option<L>,
    ) -> Result<(), ProbeError> {
        if let (Some(pins), Some(link)) = (&self.pins, link) {
            pins.pin(program, link.into())?;
        }
        Ok(())
    }

    /// After all is attached: the programs of the agent before this one are not needed any more.
    /// What they have recorded is still in the ring, which is this one's now.
    pub(super) fn keep(
        &mut self,
        drops: &mut Drops,
    ) -> Result<(Pinned, Option<Arc<Kept>>), ProbeError> {
        let Some(mut pins) = self.pins.take() else {
            drops.discarded = self.discarded;
            let pinned = Pinned {
                discarded: self.discarded,
                refused: self.no_pins.take(),
                ..Pinned::default()
            };
            return Ok((pinned, None));
        };
        drops.discarded = pins.discarded;
        let pinned = Pinned {
            lasting: true,
            refused: None,
            took_over: pins.take_over()?,
            discarded: pins.discarded,
            unpinned: std::mem::take(&mut pins.unpinned),
        };
        let untold = HashMap::try_from(self.map("UNTOLD")?).map_err(|s| map_error("UNTOLD", s))?;
        let told = HashMap::try_from(self.map("TOLD")?).map_err(|s| map_error("TOLD", s))?;
        let kept = Kept::new(untold, told, Arc::clone(&drops.not_kept), pins.take_lock());
        Ok((pinned, Some(Arc::new(kept))))
    }

    fn attach_classic(&mut self) -> Result<(), ProbeError> {
        self.load_classic_program()?;
        let loaded: &mut TracePoint = program_mut(&mut self.ebpf, CLASSIC_PROGRAM)?;
        loaded
            .attach("oom", "mark_victim")
            .map(drop)
            .map_err(|source| attach_error(CLASSIC_PROGRAM, source))
    }

    /// The programs rely on each other only as far as they are attached.
    fn tell_in_use(&mut self) -> Result<(), ProbeError> {
        let mut map = Array::try_from(self.map(IN_USE)?).map_err(|s| map_error(IN_USE, s))?;
        map.set(0, self.in_use, 0).map_err(|s| map_error(IN_USE, s))
    }

    /// Gives back the memory that only loading needed: some 8 MiB.
    pub(super) fn forget_btf(&mut self) {
        self.btf = None;
    }

    pub(super) fn records(&mut self) -> Result<RingBuf<MapData>, ProbeError> {
        RingBuf::try_from(self.map("RECORDS")?).map_err(|source| map_error("RECORDS", source))
    }

    pub(super) fn drops(&mut self) -> Result<PerCpuArray<MapData, u64>, ProbeError> {
        PerCpuArray::try_from(self.map("DROPS")?).map_err(|source| map_error("DROPS", source))
    }

    /// The programs' debug messages, for tracing.
    pub(super) fn logger(&mut self) -> Option<EbpfLogger<&'static dyn tracing_log::log::Log>> {
        EbpfLogger::init(&mut self.ebpf)
            .inspect_err(|error| tracing::warn!(%error, "no debug messages from the BPF programs"))
            .ok()
    }

    fn load_btf_program(&mut self, (program, tracepoint): BtfProgram) -> Result<(), ProbeError> {
        let Some(btf) = &self.btf else {
            return Ok(());
        };
        let loaded: &mut BtfTracePoint = program_mut(&mut self.ebpf, program)?;
        loaded
            .load(tracepoint.name, btf)
            .map_err(|source| ProbeError::program(program, source))
    }

    fn load_classic_program(&mut self) -> Result<(), ProbeError> {
        let loaded: &mut TracePoint = program_mut(&mut self.ebpf, CLASSIC_PROGRAM)?;
        loaded
            .load()
            .map_err(|source| ProbeError::program(CLASSIC_PROGRAM, source))
    }

    fn describe(&self, program: &'static str) -> Result<Verified, ProbeError> {
        let failed = |source| ProbeError::Program {
            program,
            source: Box::new(source),
        };
        let info = self
            .ebpf
            .program(program)
            .ok_or(ProbeError::Missing { name: program })?
            .info()
            .map_err(failed)?;
        // By id the kernel tells of programs and maps only to CAP_SYS_ADMIN, which nothing else here needs.
        let maps = info.map_ids().ok().flatten().unwrap_or_default();
        let maps = maps
            .into_iter()
            .map(|id| {
                let map = aya::maps::MapInfo::from_id(id).ok();
                map.and_then(|map| map.name_as_str().map(str::to_owned))
                    .unwrap_or_else(|| "?".to_owned())
            })
            .collect();
        Ok(Verified {
            program,
            verified_instructions: info.verified_instruction_count(),
            jited_bytes: info.size_jitted(),
            maps,
        })
    }

    fn map(&mut self, name: &'static str) -> Result<Map, ProbeError> {
        self.ebpf.take_map(name).ok_or(ProbeError::Missing { name })
    }
}

pub(super) fn program_mut<'a, P>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut P, ProbeError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or(ProbeError::Missing { name })?
        .try_into()
        .map_err(|source| ProbeError::Program {
            program: name,
            source: Box::new(source),
        })
}

/// Takes a link out of its program, where it is to outlive it.
fn pinnable<L>(
    pins: Option<&Pins>,
    take: impl FnOnce() -> Result<L, ProgramError>,
) -> Result<Option<L>, ProgramError> {
    pins.is_some().then(take).transpose()
}

fn attach_error(program: &'static str, source: ProgramError) -> ProbeError {
    if matches!(source, ProgramError::LoadError { .. }) {
        return ProbeError::program(program, source);
    }
    ProbeError::Attach {
        program,
        source: Box::new(source),
    }
}

pub(super) fn map_error(map: &'static str, source: aya::maps::MapError) -> ProbeError {
    ProbeError::Map {
        map,
        source: Box::new(source),
    }
}
