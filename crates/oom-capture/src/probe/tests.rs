//! The BTF reader on a blob made by hand, on any bytes, and on this host's kernel.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers of these tests are small"
)]

use proptest::prelude::*;

use super::btf::{Btf, Member};
use super::error::BtfError;
use super::offsets::resolve_offsets;

/// Writes BTF: types in order from id 1, each with its trailing words.
#[derive(Default)]
struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Blob {
    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn ty(&mut self, name: &str, kind: u32, vlen: u32, size: u32, rest: &[u32]) -> &mut Self {
        let name = self.name(name);
        for word in [name, kind << 24 | vlen, size].iter().chain(rest) {
            self.types.extend(word.to_ne_bytes());
        }
        self
    }

    fn members(&mut self, members: &[(&str, u32, u32)]) -> Vec<u32> {
        members
            .iter()
            .flat_map(|(name, ty, bits)| [self.name(name), *ty, *bits])
            .collect()
    }

    fn build(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut blob = Vec::new();
        for word in [0x1_eb9f, 24, 0, types, types, strings] {
            blob.extend(u32::to_ne_bytes(word));
        }
        blob.extend(&self.types);
        blob.extend(&self.strings);
        blob
    }
}

fn sample() -> Blob {
    let mut blob = Blob::default();
    blob.ty("int", 1, 0, 4, &[32]); // 1
    let inner = blob.members(&[("deep", 1, 32)]);
    blob.ty("", 4, 1, 8, &inner); // 2: an anonymous structure
    let outer = blob.members(&[("first", 1, 0), ("", 2, 64), ("list", 5, 128)]);
    blob.ty("outer", 4, 3, 48, &outer); // 3
    blob.ty("elem_t", 8, 0, 3, &[]); // 4: typedef of outer
    blob.ty("", 3, 0, 0, &[4, 1, 4]); // 5: array of it
    let one = blob.name("ONE");
    let two = blob.name("TWO");
    blob.ty("numbers", 6, 2, 4, &[one, 1, two, 2]); // 6
    blob.ty("", 2, 0, 3, &[]); // 7: pointer to outer
    blob.ty("", 13, 2, 0, &[0, 0, 0, 7]); // 8: void f(void *, struct outer *)
    blob.ty("", 2, 0, 8, &[]); // 9: pointer to it
    blob.ty("btf_trace_thing", 8, 0, 9, &[]); // 10
    blob
}

#[test]
fn members_are_found_through_anonymous_structures() {
    let btf = Btf::parse(sample().build()).unwrap();
    let outer = btf.find_structure("outer").unwrap();
    let at = |offset, type_id| Some(Member { offset, type_id });
    assert_eq!(btf.find_member(outer, "first"), at(0, 1));
    assert_eq!(btf.find_member(outer, "deep"), at(12, 1));
    assert_eq!(btf.find_member(outer, "absent"), None);
    assert_eq!(btf.find_structure("oute"), None);
}

#[test]
fn arrays_enumerators_and_prototypes_are_read() {
    let btf = Btf::parse(sample().build()).unwrap();
    assert_eq!(btf.element_type(5), Some(4));
    assert_eq!(btf.type_size(4), Some(48));
    assert_eq!(btf.find_enumerator("TWO"), Some(2));
    assert_eq!(btf.find_enumerator("THREE"), None);
    assert_eq!(btf.takes_structure("btf_trace_thing", 1), Some(true));
    assert_eq!(btf.takes_structure("btf_trace_thing", 2), None);
    assert_eq!(btf.takes_structure("btf_trace_other", 1), None);
}

#[test]
fn an_unknown_kind_is_refused_by_its_number() {
    let mut blob = sample();
    blob.ty("new", 29, 0, 0, &[]);
    let error = Btf::parse(blob.build()).err().unwrap();
    assert!(
        matches!(
            error,
            BtfError::Kind {
                kind: 29,
                type_id: 11
            }
        ),
        "{error}"
    );
}

#[test]
fn other_bytes_are_refused() {
    let error = Btf::parse(b"\x7fELF\x02\x01\x01\x00".to_vec()).err();
    assert!(matches!(error, Some(BtfError::Magic { .. })));
    let error = Btf::parse(vec![0x9f]).err();
    assert!(matches!(error, Some(BtfError::Truncated { at: 0 })));
}

#[test]
fn each_missing_member_is_named() {
    let offsets = resolve_offsets(&Btf::parse(sample().build()).unwrap());
    assert!(offsets.missing.contains(&"MM_RSS_ANON"));
    assert!(offsets.missing.contains(&"CSS_SET_MEMORY"));
    assert_eq!(offsets.missing.len(), offsets.globals.len());
}

#[test]
fn this_kernel_has_every_member() {
    let Ok(blob) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        return;
    };
    let offsets = resolve_offsets(&Btf::parse(blob).unwrap());
    assert_eq!(offsets.missing, Vec::<&str>::new());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        at in 0usize..400,
    ) {
        let mut blob = sample().build();
        let at = at.min(blob.len());
        blob.splice(at..(at + bytes.len()).min(blob.len()), bytes);
        if let Ok(btf) = Btf::parse(blob) {
            let _offsets = resolve_offsets(&btf);
            for id in 0..16 {
                let _found = btf.find_member(id, "deep");
            }
        }
    }
}
