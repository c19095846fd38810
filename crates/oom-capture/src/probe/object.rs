//! The BPF object: loaded with this kernel's offsets and attached.

use std::sync::Arc;

use aya::EbpfLoader;
use aya::maps::{Array, HashMap};
use aya::programs::links::FdLink;
use aya_log::EbpfLogger;
use oom_agent_ebpf::{CLASSIC_PID_OFFSET, in_use};

use super::attach_points::{
    BTF_PROGRAMS, CLASSIC, DELIVER, EXIT, FREE, GENERATE, MARK, new_loader, read_kernel_btf,
};
use super::drops::DropCounters;
use super::error::ProbeError;
use super::format::{self, FormatError};
use super::options::{AttachOptions, Method};
use super::pinned_records::PinnedRecords;
use super::pins::{self, PinError, PinStatus, Pins};
use super::programs::{Programs, VerifiedProgram};
use super::reader::Logger;

/// Built by `cargo xtask build-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/oom-agent-ebpf.o"));

/// The programs for the entry of `out_of_memory` and for its return, by the preferred way to attach them.
const OUT_OF_MEMORY_PROGRAMS: [(&str, &str, &str); 2] = [
    ("fentry", "out_of_memory_fentry", "out_of_memory_fexit"),
    ("kprobe", "out_of_memory", "out_of_memory_return"),
];

/// Maps whose oldest entries make room, and their capacities.
const LRU_MAPS: [(&str, u32); 2] = [("MARKED", 4096), ("REPORTED", 1024)];
/// Entries that the kernel reserves for each CPU: `LOCAL_FREE_TARGET` of its `kernel/bpf/bpf_lru_list.c`.
const RESERVED_PER_CPU: u32 = 128;

/// Size of a ring with environments, of 8 KiB each, in bytes.
const RING_WITH_ENVIRONMENTS: u32 = 8 << 20;
/// Size of a ring without, in bytes. The records of a group of 600 fit, with the short layout of `oom:mark_victim` too.
const RING: u32 = 4 << 20;

/// The object's programs, and what is known of how they are attached.
pub(super) struct Object {
    pub(super) programs: Programs,
    /// Of the attached programs that are not pinned, except for those that keep their own.
    pub(super) links: Vec<FdLink>,
    pub(super) missing: Vec<&'static str>,
    pub(super) btf_error: Option<ProbeError>,
    pub(super) refused: Vec<ProbeError>,
    pub(super) format_error: Option<FormatError>,
    pins: Option<Pins>,
    /// What is to be known of the pins, as far as it is.
    pinned: PinStatus,
    /// The bits of [`in_use`].
    in_use: u32,
}

/// Creates the maps of the object and relocates its programs.
pub(super) fn load_object(mut loader: EbpfLoader<'_>) -> Result<aya::Ebpf, ProbeError> {
    loader
        .load(OBJECT)
        .map_err(|source| ProbeError::Load(Box::new(source)))
}

// === impl Object ===

impl Object {
    /// Creates the maps and relocates the programs, and loads none of them.
    pub(super) fn load(options: AttachOptions<'_>) -> Result<Self, ProbeError> {
        let mut loader = new_loader(options.tuned);
        let (kernel, btf_error) = match read_kernel_btf(options.method) {
            Ok(kernel) => (kernel, None),
            Err(error) if options.method == Method::Auto => (None, Some(error.into())),
            Err(error) => return Err(error.into()),
        };
        let (btf, offsets) = kernel.unzip();
        let offsets = offsets.unwrap_or_default();

        let level: u8 = if options.logging { u8::MAX } else { 0 };
        loader.override_global(aya_log::LEVEL, &level, true);
        let (pid, format_error) = match format::find_pid_offset() {
            Ok(offset) => (offset, None),
            Err(error) => (CLASSIC_PID_OFFSET, Some(error)),
        };
        loader.override_global("CLASSIC_PID", &pid, true);
        let environment = u32::from(options.environment);
        loader.override_global("READ_ENVIRONMENT", &environment, true);
        let ring = if options.environment {
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
        let mut pinned = PinStatus::default();
        let opened = options.pin.map(|root| Pins::open(root, ring)).transpose();
        let mut pins = match opened {
            // Without a bpffs only the kills during a restart are missed.
            Err(error @ PinError::NotBpffs { .. }) => {
                pinned.refused = Some(error);
                None
            }
            opened => opened?,
        };
        if btf.is_none() {
            pinned.discarded = discard(pins.take())?;
        }
        if let Some(pins) = &pins {
            for name in pins::MAPS {
                loader.map_pin_path(name, pins.map_path(name));
            }
        } else {
            // The maps are not used: they need no memory.
            loader.map_max_entries("UNREPORTED", 1);
            loader.map_max_entries("REPORTED", 1);
        }
        for (global, value) in &offsets.globals {
            loader.override_global(global, value, true);
        }
        let ebpf = load_object(loader)?;
        Ok(Self {
            programs: Programs { ebpf, btf },
            links: Vec::new(),
            missing: offsets.missing,
            btf_error,
            refused: Vec::new(),
            format_error,
            pins,
            pinned,
            in_use: 0,
        })
    }

    /// Puts every program that this kernel supports through the verifier.
    pub(super) fn verify(&mut self) -> Result<Vec<VerifiedProgram>, ProbeError> {
        let with_btf = self.programs.btf.is_some();
        let supported = BTF_PROGRAMS.into_iter().filter(|_| with_btf);
        let verify = |program| {
            self.programs.load(program)?;
            self.programs.describe(program)
        };
        supported.chain([CLASSIC]).map(verify).collect()
    }

    /// Attaches programs to `out_of_memory`, whose argument has the cgroup with the limit: by fentry, else by a kprobe.
    /// They need offsets, so the kernel's BTF. To be called before [`attach`](Self::attach).
    pub(super) fn attach_out_of_memory(&mut self) -> Result<&'static str, Vec<ProbeError>> {
        let mut errors = Vec::new();
        if self.programs.btf.is_some() {
            for (how, entry, exit) in OUT_OF_MEMORY_PROGRAMS {
                match self.load_and_attach(entry) {
                    Ok(()) => {
                        let attached = self.load_and_attach(exit);
                        self.note_in_use(in_use::RETURN, attached);
                        return Ok(how);
                    }
                    // What cannot be pinned is no reason for another way.
                    Err(error @ ProbeError::Pin(_)) => return Err(vec![error]),
                    Err(error) => errors.push(error),
                }
            }
        }
        Err(errors)
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
        if self.programs.btf.is_some() {
            match self.attach_btf() {
                Ok(()) => return Ok(Method::Btf),
                Err(error) if method == Method::Auto => self.btf_error = Some(error),
                Err(error) => return Err(error),
            }
        }
        // The victims of the classic tracepoint must be read at once: its records cannot wait.
        self.pinned.discarded += discard(self.pins.take())?;
        self.load_and_attach(CLASSIC)
            .map_err(|classic| match self.btf_error.take() {
                Some(btf) => ProbeError::from_both(btf, classic),
                None => classic,
            })?;
        Ok(Method::Classic)
    }

    fn attach_btf(&mut self) -> Result<(), ProbeError> {
        // The others are useless without this one.
        self.programs.load(MARK)?;
        let free = self.load_and_attach(FREE);
        self.note_in_use(in_use::FREE, free);
        if self.in_use & in_use::FREE != 0 {
            for (program, bit) in [(EXIT, 0), (GENERATE, in_use::SENT), (DELIVER, 0)] {
                let attached = self.load_and_attach(program);
                self.note_in_use(bit, attached);
            }
        }
        // By this map the programs rely on each other.
        let mut map: Array<_, u32> = self.programs.take_map("IN_USE")?;
        map.set(0, self.in_use, 0)
            .map_err(|source| ProbeError::Map {
                map: "IN_USE",
                source: Box::new(source),
            })?;
        // Marks come last, so that every marked victim is examined.
        self.attach_program(MARK)
    }

    fn load_and_attach(&mut self, program: &'static str) -> Result<(), ProbeError> {
        self.programs.load(program)?;
        self.attach_program(program)
    }

    /// Attaches a program, and pins it where that is to be.
    fn attach_program(&mut self, program: &'static str) -> Result<(), ProbeError> {
        match (self.programs.attach(program)?, &self.pins) {
            (Some(link), Some(pins)) => pins.pin_link(program, link)?,
            (Some(link), None) => self.links.push(link),
            (None, Some(_)) => self.pinned.unpinned.push(program),
            (None, None) => {}
        }
        Ok(())
    }

    /// Detaches the programs of an earlier agent and takes over its pinned maps. To be called after
    /// [`attach`](Self::attach).
    pub(super) fn take_over_pins(
        &mut self,
        drops: &mut DropCounters,
    ) -> Result<(PinStatus, Option<Arc<PinnedRecords>>), ProbeError> {
        let mut status = std::mem::take(&mut self.pinned);
        let mut pinned_records = None;
        if let Some(pins) = self.pins.take() {
            let lock = pins.take_over(&mut status)?;
            let records: HashMap<_, _, _> = self.programs.take_map("UNREPORTED")?;
            let lines: HashMap<_, _, _> = self.programs.take_map("REPORTED")?;
            let failed = Arc::clone(&drops.not_kept);
            let records = PinnedRecords::new(records, lines, failed, lock);
            pinned_records = Some(Arc::new(records));
        }
        drops.discarded = status.discarded;
        Ok((status, pinned_records))
    }

    /// Passes the programs' debug messages to tracing.
    pub(super) fn start_logger(&mut self) -> Option<Logger> {
        EbpfLogger::init(&mut self.programs.ebpf)
            .inspect_err(|error| tracing::warn!(%error, "cannot read the debug messages of the BPF programs"))
            .ok()
    }
}

/// Removes what agents have pinned. Returns how many rings were removed unread.
fn discard(pins: Option<Pins>) -> Result<u64, PinError> {
    pins.map_or(Ok(0), Pins::discard)
}
