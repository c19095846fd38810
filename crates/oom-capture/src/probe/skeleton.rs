//! A BTF of only the types that aya looks up, with the ids that they have in the kernel's own.
//!
//! aya parses all of the kernel's BTF to find the ids of a few types by name: 20 MiB in small allocations that are
//! not returned to the system. A BTF of those types alone is enough.

use aya_obj::btf::BtfKind;

/// A type that aya looks up: its id, its kind, which is a typedef or a function, and its name.
pub(super) type NamedType = (u32, BtfKind, String);

/// Builds the BTF. Unnamed forward declarations, the smallest types, fill the ids between the named ones.
pub(super) fn build_skeleton(mut named: Vec<NamedType>) -> Vec<u8> {
    named.sort_by_key(|(type_id, ..)| *type_id);
    // Two programs can have one tracepoint.
    named.dedup();
    let (mut types, mut strings) = (Vec::new(), vec![0]);
    let mut next = 1;
    for (type_id, kind, name) in named {
        let filler = (next..type_id).map(|_| (0, BtfKind::Fwd));
        let at = u32::try_from(strings.len()).unwrap_or(0);
        for (name, kind) in filler.chain([(at, kind)]) {
            // `name_off`, `info`, and the id of a type, which is `void`.
            types.extend([name, (kind as u32) << 24, 0].map(u32::to_ne_bytes));
        }
        strings.extend(name.into_bytes());
        strings.push(0);
        next = type_id.saturating_add(1);
    }
    let types = types.as_flattened();
    let len = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX);
    // `struct btf_header`: magic and version, its own length, and where types and strings are.
    let header = [0x0001_eb9f, 24, 0, len(types), len(types), len(&strings)];
    [header.map(u32::to_ne_bytes).as_flattened(), types, &strings].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::btf::Btf;

    #[test]
    fn each_type_has_its_id() {
        let named = [
            (70_001, BtfKind::Func, "out_of_memory"),
            (12, BtfKind::Typedef, "btf_trace_mark_victim"),
            (12, BtfKind::Typedef, "btf_trace_mark_victim"),
            (13, BtfKind::Typedef, "btf_trace_signal_deliver"),
        ];
        let owned = named.map(|(id, kind, name)| (id, kind, name.to_owned()));
        let blob = build_skeleton(owned.to_vec());
        let for_aya = aya::Btf::parse(&blob, aya::Endianness::default()).unwrap();
        let btf = Btf::parse(blob).unwrap();
        for (id, kind, name) in named {
            assert_eq!(btf.find(name, &[kind]), Some(id));
            assert_eq!(for_aya.id_by_type_name_kind(name, kind).unwrap(), id);
        }
        assert_eq!(
            btf.find("btf_trace_signal_generate", &[BtfKind::Typedef]),
            None
        );
    }

    #[test]
    fn a_skeleton_without_types_is_valid() {
        aya::Btf::parse(&build_skeleton(Vec::new()), aya::Endianness::default()).unwrap();
    }
}
