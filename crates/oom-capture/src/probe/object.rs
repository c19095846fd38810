//! The BPF object: loaded with this kernel's offsets and attached.

use std::sync::Arc;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::links::FdLink;
use aya::programs::{BtfTracePoint, FEntry, FExit, KProbe, Program, ProgramError, TracePoint};
use aya_log::EbpfLogger;
use oom_agent_ebpf::{CLASSIC_PID_OFFSET, in_use};

use super::attach_points::{
    BTF_PROGRAMS, BtfProgram, DELIVER, EXIT, FREE, GENERATE, MARK, OUT_OF_MEMORY, new_loader,
    read_kernel_btf,
};
use super::drops::DropCounters;
use super::error::ProbeError;
use super::format::{self, FormatError};
use super::options::{AttachOptions, Method};
use super::pinned_records::PinnedRecords;
use super::pins::{self, PinError, PinStatus, Pins};

/// The program for a kernel without BTF.
const CLASSIC_PROGRAM: &str = "mark_victim";

/// The program of `own_cgroup`.
pub(super) const OWN_CGROUP: &str = "own_cgroup";

/// The map with the bits of the attached programs.
const IN_USE: &str = "IN_USE";

/// Built by `cargo xtask build-ebpf`.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/oom-agent-ebpf.o"));

// The programs for the entry of `out_of_memory`.
const FENTRY_PROGRAM: &str = "out_of_memory_fentry";
const KPROBE_PROGRAM: &str = "out_of_memory";

// The programs for its return.
const FEXIT_PROGRAM: &str = "out_of_memory_fexit";
const KRETPROBE_PROGRAM: &str = "out_of_memory_return";

/// Maps whose oldest entries make room, and their capacities.
const LRU_MAPS: [(&str, u32); 2] = [("MARKED", 4096), ("TOLD", 1024)];
/// Entries that the kernel reserves for each CPU: `LOCAL_FREE_TARGET` of its `kernel/bpf/bpf_lru_list.c`.
const RESERVED_PER_CPU: u32 = 128;

/// Size of a ring with environments, of 8 KiB each, in bytes.
const RING_WITH_ENVIRONMENTS: u32 = 8 << 20;
/// Size of a ring without, in bytes. The records of a group of 600 fit, with the short layout of `oom:mark_victim` too.
const RING: u32 = 4 << 20;

/// An object whose maps are in the kernel.
pub(super) struct Object {
    pub(super) ebpf: Ebpf,
    /// The part of the kernel's BTF that aya needs; `None` with the classic tracepoint.
    btf: Option<aya::Btf>,
    pub(super) missing: Vec<&'static str>,
    pub(super) btf_error: Option<ProbeError>,
    pub(super) refused: Vec<ProbeError>,
    pub(super) format_error: Option<FormatError>,
    pins: Option<Pins>,
    /// Why nothing is pinned although it is in the options.
    pin_error: Option<PinError>,
    discarded: u64,
    /// The bits of [`in_use`].
    in_use: u32,
}

/// A program that the kernel's verifier has accepted.
#[derive(Debug)]
pub struct VerifiedProgram {
    /// The program's name in the object.
    pub program: &'static str,
    /// Instructions that the verifier walked through; known from Linux 5.16 on.
    pub verified_instructions: Option<u32>,
    /// Size of its machine code, in bytes; 0 where the JIT is off.
    pub jited_bytes: u32,
    /// The names of its maps.
    pub maps: Vec<String>,
}

// === impl Object ===

impl Object {
    /// Creates the maps and relocates the programs, and loads none of them.
    pub(super) fn load(options: AttachOptions<'_>) -> Result<Self, ProbeError> {
        let AttachOptions {
            tuned,
            method,
            logging,
            environment,
            pin,
        } = options;
        let mut loader = new_loader(tuned);
        let (btf, btf_error) = match read_kernel_btf(method) {
            Ok(btf) => (btf, None),
            Err(source) if matches!(method, Method::Btf | Method::Tracepoints) => {
                return Err(ProbeError::Btf { source });
            }
            Err(source) => (None, Some(ProbeError::Btf { source })),
        };
        let (btf, offsets) = btf.unzip();
        let offsets = offsets.unwrap_or_default();

        let level: u8 = if logging { u8::MAX } else { 0 };
        loader.override_global(aya_log::LEVEL, &level, true);
        let (pid, format_error) = match format::find_pid_offset() {
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
            let reserved = cpus.saturating_mul(RESERVED_PER_CPU);
            loader.map_max_entries(name, entries.saturating_add(reserved));
        }
        let opened = pin.map(|root| Pins::open(root, ring)).transpose();
        let (mut pins, pin_error) = match opened {
            Ok(pins) => (pins, None),
            // Without a bpffs only the kills during a restart are missed.
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
                loader.map_pin_path(name, pins.map_path(name));
            }
        } else {
            // The maps are not used: they need no memory.
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
            btf_error,
            refused: Vec::new(),
            format_error,
            pins,
            pin_error,
            discarded,
            in_use: 0,
        })
    }

    /// Puts every program that this kernel supports through the verifier.
    pub(super) fn verify(&mut self) -> Result<Vec<VerifiedProgram>, ProbeError> {
        let mut verified = Vec::new();
        if self.btf.is_some() {
            for program in BTF_PROGRAMS {
                self.load_btf_program(program)?;
                verified.push(self.describe_program(program.0)?);
            }
            self.load_btf_program((OWN_CGROUP, EXIT.1))?;
            verified.push(self.describe_program(OWN_CGROUP)?);
        }
        self.load_classic_program()?;
        verified.push(self.describe_program(CLASSIC_PROGRAM)?);
        Ok(verified)
    }

    /// Attaches programs to `out_of_memory`, whose argument has the cgroup with the limit: by fentry, else by a kprobe.
    /// They need offsets, so the kernel's BTF. To be called before [`attach`](Self::attach).
    pub(super) fn attach_out_of_memory(&mut self) -> Result<&'static str, Vec<ProbeError>> {
        let Some(btf) = &self.btf else {
            return Err(Vec::new());
        };
        let fentry = program_mut::<FEntry>(&mut self.ebpf, FENTRY_PROGRAM).and_then(|program| {
            program
                .load(OUT_OF_MEMORY, btf)
                .and_then(|()| program.attach())
                .and_then(|link| take_link_to_pin(self.pins.as_ref(), || program.take_link(link)))
                .map_err(|source| attach_error(FENTRY_PROGRAM, source))
        });
        let fentry_error = match fentry {
            Ok(link) => {
                self.pin_link(FENTRY_PROGRAM, link)
                    .map_err(|error| vec![error])?;
                let attached = self.attach_fexit();
                self.note_in_use(in_use::RETURN, attached);
                return Ok("fentry");
            }
            Err(error) => error,
        };
        match self.attach_kprobe(KPROBE_PROGRAM) {
            Ok(()) => {
                let attached = self.attach_kprobe(KRETPROBE_PROGRAM);
                self.note_in_use(in_use::RETURN, attached);
                Ok("kprobe")
            }
            Err(kprobe_error) => Err(vec![fentry_error, kprobe_error]),
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
            .and_then(|link| take_link_to_pin(self.pins.as_ref(), || program.take_link(link)))
            .map_err(|source| attach_error(FEXIT_PROGRAM, source))?;
        self.pin_link(FEXIT_PROGRAM, link)
    }

    fn attach_kprobe(&mut self, name: &'static str) -> Result<(), ProbeError> {
        let program: &mut KProbe = program_mut(&mut self.ebpf, name)?;
        program
            .load()
            .and_then(|()| program.attach(OUT_OF_MEMORY, 0))
            .map_err(|source| attach_error(name, source))?;
        // Its link can be pinned from 5.15 on only, where fentry mostly works.
        if let Some(pins) = &mut self.pins {
            pins.unpinned.push(name);
        }
        Ok(())
    }

    /// Notes the bit of an attached program, or the error of a refused one, without which the others still work.
    fn note_in_use(&mut self, bit: u32, attached: Result<(), ProbeError>) {
        match attached {
            Ok(()) => self.in_use |= bit,
            Err(error) => self.refused.push(error),
        }
    }

    /// Loads and attaches the programs that this kernel supports. They are detached when this is dropped.
    pub(super) fn attach(&mut self, method: Method) -> Result<Method, ProbeError> {
        if self.btf.is_some() {
            match self.attach_btf() {
                Ok(()) => return Ok(Method::Btf),
                Err(error) if matches!(method, Method::Btf | Method::Tracepoints) => {
                    return Err(error);
                }
                Err(error) => self.btf_error = Some(error),
            }
        }
        // The victims of the classic tracepoint must be read at once: its records cannot wait.
        if let Some(mut pins) = self.pins.take() {
            pins.discard()?;
            self.discarded = pins.discarded;
        }
        self.attach_classic()
            .map_err(|classic| match self.btf_error.take() {
                Some(btf) => ProbeError::from_both(btf, classic),
                None => classic,
            })?;
        Ok(Method::Classic)
    }

    fn attach_btf(&mut self) -> Result<(), ProbeError> {
        // The others are useless without this one.
        self.load_btf_program(MARK)?;
        let free = self.load_and_attach(FREE);
        self.note_in_use(in_use::FREE, free);
        if self.in_use & in_use::FREE != 0 {
            for (program, bit) in [(EXIT, 0), (GENERATE, in_use::SENT), (DELIVER, 0)] {
                let attached = self.load_and_attach(program);
                self.note_in_use(bit, attached);
            }
        }
        self.publish_in_use()?;
        // Marks come last, so that every marked victim is examined.
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
            .and_then(|link| take_link_to_pin(self.pins.as_ref(), || loaded.take_link(link)))
            .map_err(|source| attach_error(program, source))?;
        self.pin_link(program, link)
    }

    fn pin_link<L: Into<FdLink>>(
        &self,
        program: &'static str,
        link: Option<L>,
    ) -> Result<(), ProbeError> {
        if let (Some(pins), Some(link)) = (&self.pins, link) {
            pins.pin_link(program, link.into())?;
        }
        Ok(())
    }

    /// Detaches the programs of an earlier agent and takes over its pinned maps. To be called after
    /// [`attach`](Self::attach).
    pub(super) fn take_over_pins(
        &mut self,
        drops: &mut DropCounters,
    ) -> Result<(PinStatus, Option<Arc<PinnedRecords>>), ProbeError> {
        let Some(mut pins) = self.pins.take() else {
            drops.discarded = self.discarded;
            let pinned = PinStatus {
                discarded: self.discarded,
                refused: self.pin_error.take(),
                ..PinStatus::default()
            };
            return Ok((pinned, None));
        };
        drops.discarded = pins.discarded;
        let pinned = PinStatus {
            lasting: true,
            refused: None,
            took_over: pins.remove_old_links()?,
            discarded: pins.discarded,
            unpinned: std::mem::take(&mut pins.unpinned),
        };
        let records: HashMap<_, _, _> = self.take_map("UNTOLD")?;
        let lines: HashMap<_, _, _> = self.take_map("TOLD")?;
        let failed = Arc::clone(&drops.not_kept);
        let pinned_records = PinnedRecords::new(records, lines, failed, pins.take_lock());
        Ok((pinned, Some(Arc::new(pinned_records))))
    }

    fn attach_classic(&mut self) -> Result<(), ProbeError> {
        self.load_classic_program()?;
        let loaded: &mut TracePoint = program_mut(&mut self.ebpf, CLASSIC_PROGRAM)?;
        loaded
            .attach("oom", "mark_victim")
            .map(drop)
            .map_err(|source| attach_error(CLASSIC_PROGRAM, source))
    }

    /// Writes which programs are attached into the map by which they rely on each other.
    fn publish_in_use(&mut self) -> Result<(), ProbeError> {
        let mut map: Array<_, u32> = self.take_map(IN_USE)?;
        map.set(0, self.in_use, 0).map_err(|s| map_error(IN_USE, s))
    }

    /// Frees memory that only loading needed: some 8 MiB.
    pub(super) fn free_btf(&mut self) {
        self.btf = None;
    }

    pub(super) fn take_ring(&mut self) -> Result<RingBuf<MapData>, ProbeError> {
        self.take_map("RECORDS")
    }

    pub(super) fn take_drop_map(&mut self) -> Result<PerCpuArray<MapData, u64>, ProbeError> {
        self.take_map("DROPS")
    }

    /// Passes the programs' debug messages to tracing.
    pub(super) fn start_logger(
        &mut self,
    ) -> Option<EbpfLogger<&'static dyn tracing_log::log::Log>> {
        EbpfLogger::init(&mut self.ebpf)
            .inspect_err(|error| tracing::warn!(%error, "cannot read the debug messages of the BPF programs"))
            .ok()
    }

    fn load_btf_program(&mut self, (program, tracepoint): BtfProgram) -> Result<(), ProbeError> {
        let Some(btf) = &self.btf else {
            return Ok(());
        };
        let loaded: &mut BtfTracePoint = program_mut(&mut self.ebpf, program)?;
        loaded
            .load(tracepoint.name, btf)
            .map_err(|source| ProbeError::from_load_error(program, source))
    }

    fn load_classic_program(&mut self) -> Result<(), ProbeError> {
        let loaded: &mut TracePoint = program_mut(&mut self.ebpf, CLASSIC_PROGRAM)?;
        loaded
            .load()
            .map_err(|source| ProbeError::from_load_error(CLASSIC_PROGRAM, source))
    }

    fn describe_program(&self, program: &'static str) -> Result<VerifiedProgram, ProbeError> {
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
        // The kernel shows programs and maps by their ids only with CAP_SYS_ADMIN, which nothing else here needs.
        let maps = info.map_ids().ok().flatten().unwrap_or_default();
        let maps = maps
            .into_iter()
            .map(|id| {
                let map = aya::maps::MapInfo::from_id(id).ok();
                map.and_then(|map| map.name_as_str().map(str::to_owned))
                    .unwrap_or_else(|| "?".to_owned())
            })
            .collect();
        Ok(VerifiedProgram {
            program,
            verified_instructions: info.verified_instruction_count(),
            jited_bytes: info.size_jitted(),
            maps,
        })
    }

    fn take_map<M>(&mut self, name: &'static str) -> Result<M, ProbeError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        let map = self.ebpf.take_map(name);
        let map = map.ok_or(ProbeError::Missing { name })?;
        map.try_into().map_err(|source| map_error(name, source))
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

/// Takes a link out of its program where it is to be pinned.
fn take_link_to_pin<L>(
    pins: Option<&Pins>,
    take: impl FnOnce() -> Result<L, ProgramError>,
) -> Result<Option<L>, ProgramError> {
    pins.is_some().then(take).transpose()
}

fn attach_error(program: &'static str, source: ProgramError) -> ProbeError {
    if matches!(source, ProgramError::LoadError { .. }) {
        return ProbeError::from_load_error(program, source);
    }
    ProbeError::Attach {
        program,
        source: Box::new(source),
    }
}

pub(super) fn map_error(map: &'static str, source: MapError) -> ProbeError {
    ProbeError::Map {
        map,
        source: Box::new(source),
    }
}
