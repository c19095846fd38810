//! A BTF of the few types that aya looks up, at the ids that they have in the kernel's own.
//!
//! aya finds what to attach to by name in a BTF that it parses whole: 20 MiB in small pieces, which the
//! allocator keeps. All it takes from there is an id, so a BTF that is empty but for those does.

use super::btf::kind;

/// Size of `struct btf_header`, in bytes.
const HEADER_LEN: u32 = 24;

/// `version` and `flags` above, `magic` below, in this machine's byte order.
const MAGIC_AND_VERSION: u32 = 0x0001_eb9f;

/// A type that aya looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub(super) type_id: u32,
    /// `kind::TYPEDEF` or `kind::FUNC`.
    pub(super) kind: u32,
    pub(super) name: &'a str,
}

/// The blob. Between the named types lie forward declarations without a name, the smallest of all.
pub(super) fn blob(mut named: Vec<Named<'_>>) -> Vec<u8> {
    named.sort_by_key(|named| named.type_id);
    let last = named.last().map_or(0, |named| named.type_id);
    let mut types = Vec::with_capacity(last as usize * 12);
    let mut strings = vec![0];
    let mut named = named.into_iter().peekable();
    for type_id in 1..=last {
        let (name, kind) = match named.next_if(|named| named.type_id == type_id) {
            Some(found) => {
                let at = strings.len();
                strings.extend_from_slice(found.name.as_bytes());
                strings.push(0);
                (u32::try_from(at).unwrap_or(0), found.kind)
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
    fn each_type_is_at_its_id() {
        let named = [
            (70_001, kind::FUNC, "out_of_memory"),
            (12, kind::TYPEDEF, "btf_trace_mark_victim"),
            (13, kind::TYPEDEF, "btf_trace_signal_deliver"),
        ]
        .map(|(type_id, kind, name)| Named {
            type_id,
            kind,
            name,
        });
        let blob = blob(named.to_vec());
        aya::Btf::parse(&blob, aya::Endianness::default()).unwrap();
        let btf = Btf::parse(blob).unwrap();
        assert_eq!(btf.function("out_of_memory"), Some(70_001));
        assert_eq!(btf.typedef("btf_trace_mark_victim"), Some(12));
        assert_eq!(btf.typedef("btf_trace_signal_deliver"), Some(13));
        assert_eq!(btf.typedef("btf_trace_signal_generate"), None);
    }

    #[test]
    fn nothing_to_name_is_a_blob_too() {
        aya::Btf::parse(&blob(Vec::new()), aya::Endianness::default()).unwrap();
    }
}
