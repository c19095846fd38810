//! A BTF of only the types that aya looks up, with the ids that they have in the kernel's own.
//!
//! aya parses all of the kernel's BTF to find the ids of a few types by name: 20 MiB in small allocations that are
//! not returned to the system. A BTF of those types alone is enough.

use super::btf::kind;

/// Size of `struct btf_header`, in bytes.
const HEADER_LEN: u32 = 24;

/// `flags`, `version` and `magic`, from the highest byte to the lowest.
const MAGIC_AND_VERSION: u32 = 0x0001_eb9f;

/// A type that aya looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamedType<'a> {
    pub(super) type_id: u32,
    /// `kind::TYPEDEF` or `kind::FUNC`.
    pub(super) kind: u32,
    pub(super) name: &'a str,
}

/// Builds the BTF. Unnamed forward declarations, the smallest types, fill the ids between the named ones.
pub(super) fn build_skeleton(mut named: Vec<NamedType<'_>>) -> Vec<u8> {
    named.sort_by_key(|named| named.type_id);
    let last = named.last().map_or(0, |named| named.type_id);
    let mut types = Vec::with_capacity(last as usize * 12);
    let mut strings = vec![0];
    let mut named = named.into_iter().peekable();
    for type_id in 1..=last {
        let (name, kind) = match named.next_if(|named| named.type_id == type_id) {
            Some(named) => {
                let at = strings.len();
                strings.extend_from_slice(named.name.as_bytes());
                strings.push(0);
                (u32::try_from(at).unwrap_or(0), named.kind)
            }
            None => (0, kind::FWD),
        };
        // `name_off`, `info`, and the id of a type, which is `void`.
        for word in [name, kind << 24, 0] {
            types.extend_from_slice(&word.to_ne_bytes());
        }
    }
    let len = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX);
    let header = [
        MAGIC_AND_VERSION,
        HEADER_LEN,
        0,
        len(&types),
        len(&types),
        len(&strings),
    ];
    let mut blob: Vec<u8> = header.into_iter().flat_map(u32::to_ne_bytes).collect();
    blob.append(&mut types);
    blob.append(&mut strings);
    blob
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::btf::Btf;

    #[test]
    fn each_type_has_its_id() {
        let named = [
            (70_001, kind::FUNC, "out_of_memory"),
            (12, kind::TYPEDEF, "btf_trace_mark_victim"),
            (13, kind::TYPEDEF, "btf_trace_signal_deliver"),
        ]
        .map(|(type_id, kind, name)| NamedType {
            type_id,
            kind,
            name,
        });
        let blob = build_skeleton(named.to_vec());
        aya::Btf::parse(&blob, aya::Endianness::default()).unwrap();
        let btf = Btf::parse(blob).unwrap();
        assert_eq!(btf.find_function("out_of_memory"), Some(70_001));
        assert_eq!(btf.find_typedef("btf_trace_mark_victim"), Some(12));
        assert_eq!(btf.find_typedef("btf_trace_signal_deliver"), Some(13));
        assert_eq!(btf.find_typedef("btf_trace_signal_generate"), None);
    }

    #[test]
    fn a_skeleton_without_types_is_valid() {
        aya::Btf::parse(&build_skeleton(Vec::new()), aya::Endianness::default()).unwrap();
    }
}
