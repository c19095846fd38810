//! What the table of records makes: kinds, and the total reader of what is in the ring.

/// The bytes are no record: the object and this library are of different builds.
#[cfg(not(target_arch = "bpf"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes of kind {kind:?} are no record")]
pub struct Malformed {
    /// The first word, if there is one.
    pub kind: Option<u32>,
    /// The number of bytes.
    pub len: usize,
}

macro_rules! records {
    ($($(#[$doc:meta])+ $name:ident = $kind:literal,)+) => {
        $(impl $name {
            /// The first word of such a record.
            pub const KIND: u32 = $kind;
        })+

        /// An item of the ring.
        #[cfg(not(target_arch = "bpf"))]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Record {
            $($(#[$doc])+ $name(Box<$name>),)+
        }

        #[cfg(not(target_arch = "bpf"))]
        impl Record {
            /// Decodes an item of the ring. Any bytes are a record or [`Malformed`].
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, crate::from_bytes::Malformed> {
                let kind = <u32 as zerocopy::FromBytes>::read_from_prefix(bytes).ok().map(|(kind, _)| kind);
                let record = match kind {
                    $(Some($kind) => {
                        let record = $name::read_from_bytes(bytes).ok();
                        record.map(|record| Self::$name(Box::new(record)))
                    })+
                    _ => None,
                };
                let len = bytes.len();
                record.ok_or(crate::from_bytes::Malformed { kind, len })
            }

            /// The bytes in the ring.
            pub fn as_bytes(&self) -> &[u8] {
                match self {
                    $(Self::$name(record) => record.as_bytes(),)+
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Autopsy, Environment, Exit, InvocationEnd, Mark, NoVictim, Record};
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    fn mark() -> Mark {
        Mark {
            kind: Mark::KIND,
            tid: 4243,
            tgid: 4242,
            trigger_tgid: 7,
            stamp_ns: 812_345_678_901,
            invocation_ns: 812_345_678_000,
            total_pages: 16384,
            limit_pages: 8192,
            trigger_comm: *b"allocator\0\0\0\0\0\0\0",
            invoked: u32::MAX,
            gfp_mask: 0xcc0,
            order: 0,
            constraint: 3,
            memcg_names_used: 5,
            memcg_names_cut: 0,
            memcg_names: [b'x'; crate::CGROUP_NAMES_LEN],
        }
    }

    #[test]
    fn a_mark_is_decoded_as_written() {
        assert_eq!(
            Record::from_bytes(mark().as_bytes()),
            Ok(Record::Mark(Box::new(mark())))
        );
    }

    #[test]
    fn a_record_one_byte_short_or_long_is_refused() {
        let mut bytes = mark().as_bytes().to_vec();
        bytes.push(0);
        let refused = |bytes: &[u8]| {
            assert_eq!(
                Record::from_bytes(bytes),
                Err(Malformed {
                    kind: Some(Mark::KIND),
                    len: bytes.len()
                })
            );
        };
        refused(&bytes);
        refused(&bytes[..bytes.len() - 2]);
    }

    #[test]
    fn debug_shows_no_byte_of_an_environment() {
        let mut bytes = vec![b's'; size_of::<Environment>()];
        bytes[..4].copy_from_slice(&Environment::KIND.to_ne_bytes());
        let shown = format!("{:?}", Record::from_bytes(&bytes).unwrap());
        assert!(!shown.contains("115, 115"), "{shown}");
        assert!(shown.ends_with("read: 1936946035, .. })"), "{shown}");
    }

    proptest! {
        #[test]
        fn only_the_right_size_of_each_kind_is_decoded(kind in 0u32..8, rest in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut bytes = kind.to_ne_bytes().to_vec();
            bytes.extend(rest);
            let sizes = [
                size_of::<Mark>(),
                size_of::<Autopsy>(),
                size_of::<Exit>(),
                size_of::<Environment>(),
                size_of::<InvocationEnd>(),
                size_of::<NoVictim>(),
            ];
            let right_size = sizes.get((kind as usize).wrapping_sub(1)) == Some(&bytes.len());
            prop_assert_eq!(Record::from_bytes(&bytes).is_ok(), right_size);
        }

        #[test]
        fn any_bytes_of_the_right_size_are_decoded(fill in any::<u8>()) {
            for (kind, size) in [(1u32, size_of::<Mark>()), (2, size_of::<Autopsy>()), (3, size_of::<Exit>()), (4, size_of::<Environment>()), (5, size_of::<InvocationEnd>()), (6, size_of::<NoVictim>())] {
                let mut bytes = vec![fill; size];
                bytes[..4].copy_from_slice(&kind.to_ne_bytes());
                prop_assert!(Record::from_bytes(&bytes).is_ok());
            }
        }
    }
}
