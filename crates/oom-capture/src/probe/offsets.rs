//! The offsets in this kernel of the structure members that the programs read.

use oom_agent_ebpf::Source::{self, Counter, MarkVictimHasTask, Member, Memcg, MemoryCss, Size};
use oom_agent_ebpf::{UNKNOWN_OFFSET, kernel_members};

use super::btf::{self, Btf};

macro_rules! table {
    ($($global:ident: $source:expr,)+) => {
        &[$((stringify!($global), $source)),+]
    };
}

/// The object's globals, and where the kernel's BTF has their values.
const MEMBERS: &[(&str, Source)] = kernel_members!(table);

/// The values of the object's globals for a kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    pub(super) globals: Vec<(&'static str, u32)>,
    /// The globals whose members this kernel lacks.
    pub(super) missing: Vec<&'static str>,
}

/// Finds every offset. A missing one is [`UNKNOWN_OFFSET`], and only its field is missing then.
pub(super) fn resolve_offsets(btf: &Btf) -> Offsets {
    let mut offsets = Offsets::default();
    for (global, source) in MEMBERS {
        let found = resolve(btf, *source);
        if found.is_none() {
            offsets.missing.push(global);
        }
        let value = found.unwrap_or(UNKNOWN_OFFSET);
        offsets.globals.push((global, value));
    }
    offsets
}

fn resolve(btf: &Btf, source: Source) -> Option<u32> {
    match source {
        Member(structure, names) => {
            let structure = btf.find_structure(structure)?;
            let member = names
                .iter()
                .find_map(|name| btf.find_member(structure, name));
            Some(member?.offset)
        }
        Size(structure) => btf.type_size(btf.find_structure(structure)?),
        Memcg(path) => {
            let memcg = btf::Member {
                offset: 0,
                type_id: btf.find_structure("mem_cgroup")?,
            };
            let member = path.iter().try_fold(memcg, |outer, name| {
                let inner = btf.find_member(outer.type_id, name)?;
                Some(btf::Member {
                    offset: outer.offset.checked_add(inner.offset)?,
                    ..inner
                })
            });
            let css = btf.find_member(memcg.type_id, "css")?;
            member?.offset.checked_sub(css.offset)
        }
        Counter(enumerator) => counter_offset(btf, enumerator),
        // `css_set.subsys[memory_cgrp_id]`; the index depends on the kernel's configuration.
        MemoryCss => {
            let array = btf.find_member(btf.find_structure("css_set")?, "subsys")?;
            let index = btf.find_enumerator("memory_cgrp_id")?;
            array.offset.checked_add(index.checked_mul(8)?)
        }
        // Parameter 0 of a tracepoint's prototype is the probe's data; the tracepoint's own arguments follow.
        MarkVictimHasTask => btf
            .takes_structure("btf_trace_mark_victim", 1)
            .map(u32::from),
    }
}

/// `mm_struct.rss_stat` is a structure of an array of atomics before 6.2, an array of `percpu_counter` after.
fn counter_offset(btf: &Btf, counter: &str) -> Option<u32> {
    let index = btf.find_enumerator(counter)?;
    let rss_stat = btf.find_member(btf.find_structure("mm_struct")?, "rss_stat")?;
    let (array, stride) = if btf.is_structure(rss_stat.type_id) {
        (btf.find_member(rss_stat.type_id, "count")?, 8)
    } else {
        let per_cpu = btf.element_type(rss_stat.type_id)?;
        let count = btf.find_member(per_cpu, "count")?;
        (count, btf.type_size(per_cpu)?)
    };
    rss_stat
        .offset
        .checked_add(array.offset)?
        .checked_add(index.checked_mul(stride)?)
}
