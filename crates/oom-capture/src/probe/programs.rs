//! Loads and attaches the object's programs, by their names.

use aya::Ebpf;
use aya::maps::{Map, MapError};
use aya::programs::Program;
use aya::programs::links::FdLink;

use super::attach_points::{OUT_OF_MEMORY, tracepoint};
use super::error::ProbeError;

/// An object whose maps are in the kernel.
pub(super) struct Programs {
    pub(super) ebpf: Ebpf,
    /// The part of the kernel's BTF that aya needs; `None` with the classic tracepoint.
    pub(super) btf: Option<aya::Btf>,
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

// === impl Programs ===

impl Programs {
    /// Puts a program through the verifier.
    pub(super) fn load(&mut self, name: &'static str) -> Result<(), ProbeError> {
        let program = self.ebpf.program_mut(name);
        let loaded = match (program, &self.btf) {
            (Some(Program::BtfTracePoint(program)), Some(btf)) => {
                program.load(tracepoint(name), btf)
            }
            (Some(Program::FEntry(program)), Some(btf)) => program.load(OUT_OF_MEMORY, btf),
            (Some(Program::FExit(program)), Some(btf)) => program.load(OUT_OF_MEMORY, btf),
            (Some(Program::KProbe(program)), _) => program.load(),
            (Some(Program::TracePoint(program)), _) => program.load(),
            _ => return Err(ProbeError::Missing { name }),
        };
        loaded.map_err(|source| ProbeError::from_program("load", name, source))
    }

    /// Attaches a loaded program. Returns its link where every kernel can pin it, else the program keeps it.
    pub(super) fn attach(&mut self, name: &'static str) -> Result<Option<FdLink>, ProbeError> {
        let attached = match self.ebpf.program_mut(name) {
            Some(Program::BtfTracePoint(program)) => program
                .attach()
                .and_then(|link| program.take_link(link))
                .map(|link| Some(link.into())),
            Some(Program::FEntry(program)) => program
                .attach()
                .and_then(|link| program.take_link(link))
                .map(|link| Some(link.into())),
            Some(Program::FExit(program)) => program
                .attach()
                .and_then(|link| program.take_link(link))
                .map(|link| Some(link.into())),
            // From 5.15 on these can be pinned, too, where fentry mostly works.
            Some(Program::KProbe(program)) => program.attach(OUT_OF_MEMORY, 0).map(|_| None),
            Some(Program::TracePoint(program)) => program.attach("oom", name).map(|_| None),
            _ => return Err(ProbeError::Missing { name }),
        };
        attached.map_err(|source| ProbeError::from_program("attach", name, source))
    }

    pub(super) fn describe(&self, program: &'static str) -> Result<VerifiedProgram, ProbeError> {
        let loaded = self.ebpf.program(program);
        let loaded = loaded.ok_or(ProbeError::Missing { name: program })?;
        let failed = |source| ProbeError::from_program("load", program, source);
        let info = loaded.info().map_err(failed)?;
        // The kernel shows programs and maps by their ids only with CAP_SYS_ADMIN, which nothing else here needs.
        let maps = info.map_ids().ok().flatten().unwrap_or_default();
        let name = |id| {
            let map = aya::maps::MapInfo::from_id(id).ok();
            map.and_then(|map| map.name_as_str().map(str::to_owned))
                .unwrap_or_else(|| "?".to_owned())
        };
        Ok(VerifiedProgram {
            program,
            verified_instructions: info.verified_instruction_count(),
            jited_bytes: info.size_jitted(),
            maps: maps.into_iter().map(name).collect(),
        })
    }

    pub(super) fn take_map<M>(&mut self, map: &'static str) -> Result<M, ProbeError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        let taken = self.ebpf.take_map(map);
        let taken = taken.ok_or(ProbeError::Missing { name: map })?;
        taken.try_into().map_err(|source| ProbeError::Map {
            map,
            source: Box::new(source),
        })
    }
}
