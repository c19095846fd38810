//! A reader of the kernel's BTF, for the offsets of structure members.
//!
//! The format: <https://docs.kernel.org/bpf/btf.html>. The blob is read in place, with an index of four bytes for
//! each type: `vmlinux` has over 120,000 of them.

use aya_obj::btf::BtfKind;

use super::error::BtfError;

const MAGIC: u16 = 0xeb9f;

const STRUCTURES: [BtfKind; 2] = [BtfKind::Struct, BtfKind::Union];

/// Anonymous members nest a few levels deep; a loop in a broken blob must end.
const MAX_NESTING: u32 = 16;

/// The types of one BTF blob.
pub(super) struct Btf {
    blob: Vec<u8>,
    strings: usize,
    /// Where each type starts in the blob, by its id; id 0 is `void` and has none.
    starts: Vec<u32>,
}

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// From the start of the structure, in bytes.
    pub(super) offset: u32,
    pub(super) type_id: u32,
}

#[derive(Clone, Copy)]
struct Type {
    name: u32,
    /// `None` for one that aya does not know.
    kind: Option<BtfKind>,
    vlen: u32,
    /// `info`'s top bit: member offsets have the size of a bit-field in their top byte.
    kind_flag: bool,
    size_or_id: u32,
    /// Where the part after the common one starts in the blob.
    rest: usize,
}

// === impl Btf ===

impl Btf {
    /// Indexes a blob of this machine's byte order.
    pub(super) fn parse(blob: Vec<u8>) -> Result<Self, BtfError> {
        let word = |at: usize| read_word(&blob, at).ok_or(BtfError::Truncated { at });
        let magic_and_version = word(0)?;
        if magic_and_version & 0xffff != u32::from(MAGIC) {
            return Err(BtfError::Magic {
                found: magic_and_version,
            });
        }
        let header_len = word(4)? as usize;
        let types = header_len.saturating_add(word(8)? as usize);
        let end = types.saturating_add(word(12)? as usize);
        let strings = header_len.saturating_add(word(16)? as usize);

        let mut starts = vec![0];
        let mut at = types;
        while at < end {
            let ty = read_type(&blob, at).ok_or(BtfError::Truncated { at })?;
            let Some(size) = ty.trailing_size() else {
                return Err(BtfError::Kind {
                    kind: word(at + 4)? >> 24 & 0x1f,
                    type_id: starts.len(),
                });
            };
            starts.push(u32::try_from(at).map_err(|_| BtfError::Truncated { at })?);
            at = ty.rest.saturating_add(size);
        }
        Ok(Self {
            blob,
            strings,
            starts,
        })
    }

    /// A structure or union.
    pub(super) fn find_structure(&self, name: &str) -> Option<u32> {
        self.find(name, &STRUCTURES)
    }

    /// A type of that name and one of these kinds.
    pub(super) fn find(&self, name: &str, kinds: &[BtfKind]) -> Option<u32> {
        (1..self.starts.len()).find_map(|id| {
            let id = u32::try_from(id).ok()?;
            let ty = self.get(id)?;
            (kinds.contains(&ty.kind?) && self.is_string(ty.name, name)).then_some(id)
        })
    }

    /// Finds a member of a structure, in its anonymous members too.
    pub(super) fn find_member(&self, structure: u32, name: &str) -> Option<Member> {
        self.find_member_within(structure, name, MAX_NESTING)
    }

    /// The value of an enumerator of any enum.
    pub(super) fn find_enumerator(&self, name: &str) -> Option<u32> {
        (1..self.starts.len()).find_map(|id| {
            let ty = self.get(u32::try_from(id).ok()?)?;
            let entry = match ty.kind? {
                BtfKind::Enum => 8,
                BtfKind::Enum64 => 12,
                _ => return None,
            };
            (0..ty.vlen as usize)
                .map(|n| ty.rest + n * entry)
                .find(|at| self.has_name_at(*at, name))
                .and_then(|at| read_word(&self.blob, at + 4))
        })
    }

    pub(super) fn element_type(&self, array: u32) -> Option<u32> {
        let ty = self.get(self.resolve_type(array)?)?;
        (ty.kind == Some(BtfKind::Array)).then(|| read_word(&self.blob, ty.rest))?
    }

    /// Size of a structure, union or integer, in bytes.
    pub(super) fn type_size(&self, type_id: u32) -> Option<u32> {
        let ty = self.get(self.resolve_type(type_id)?)?;
        (ty.is_structure() || ty.kind == Some(BtfKind::Int)).then_some(ty.size_or_id)
    }

    /// Whether a type is a structure, behind typedefs and qualifiers.
    pub(super) fn is_structure(&self, type_id: u32) -> bool {
        self.resolve_type(type_id)
            .and_then(|id| self.get(id))
            .is_some_and(|ty| ty.is_structure())
    }

    /// Whether parameter `n` of this function pointer type is a pointer to a structure. `btf_trace_NAME` is such a
    /// type for every tracepoint; its parameter 0 is the probe's own data.
    pub(super) fn takes_structure(&self, typedef: &str, n: u32) -> Option<bool> {
        let pointer = self.get(self.resolve_type(self.find(typedef, &[BtfKind::Typedef])?)?)?;
        let prototype = self.get(self.resolve_type(pointer.size_or_id)?)?;
        if prototype.kind != Some(BtfKind::FuncProto) || n >= prototype.vlen {
            return None;
        }
        let parameter = read_word(&self.blob, prototype.rest + n as usize * 8 + 4)?;
        let parameter = self.get(self.resolve_type(parameter)?)?;
        Some(parameter.kind == Some(BtfKind::Ptr) && self.is_structure(parameter.size_or_id))
    }

    fn find_member_within(&self, structure: u32, name: &str, nesting: u32) -> Option<Member> {
        let nesting = nesting.checked_sub(1)?;
        let ty = self.get(self.resolve_type(structure)?)?;
        if !ty.is_structure() {
            return None;
        }
        (0..ty.vlen as usize).find_map(|n| {
            let at = ty.rest + n * 12;
            let type_id = read_word(&self.blob, at + 4)?;
            let bits = read_word(&self.blob, at + 8)?;
            let offset = if ty.kind_flag {
                bits & 0x00ff_ffff
            } else {
                bits
            } / 8;
            if self.has_name_at(at, name) {
                return Some(Member { offset, type_id });
            }
            if read_word(&self.blob, at)? != 0 && !self.has_name_at(at, "") {
                return None;
            }
            let inner = self.find_member_within(type_id, name, nesting)?;
            Some(Member {
                offset: offset.checked_add(inner.offset)?,
                ..inner
            })
        })
    }

    /// Resolves typedefs, qualifiers and tags.
    fn resolve_type(&self, mut type_id: u32) -> Option<u32> {
        for _ in 0..MAX_NESTING {
            let ty = self.get(type_id)?;
            match ty.kind? {
                BtfKind::Typedef
                | BtfKind::Volatile
                | BtfKind::Const
                | BtfKind::Restrict
                | BtfKind::TypeTag => {
                    type_id = ty.size_or_id;
                }
                _ => return Some(type_id),
            }
        }
        None
    }

    fn get(&self, type_id: u32) -> Option<Type> {
        if type_id == 0 {
            return None;
        }
        read_type(&self.blob, *self.starts.get(type_id as usize)? as usize)
    }

    /// Whether the name offset at `at` is that of `name`.
    fn has_name_at(&self, at: usize, name: &str) -> bool {
        read_word(&self.blob, at).is_some_and(|offset| self.is_string(offset, name))
    }

    fn is_string(&self, offset: u32, name: &str) -> bool {
        self.blob
            .get(self.strings.saturating_add(offset as usize)..)
            .and_then(|tail| tail.get(..=name.len()))
            .and_then(<[u8]>::split_last)
            .is_some_and(|(end, text)| *end == 0 && text == name.as_bytes())
    }
}

// === impl Type ===

impl Type {
    fn is_structure(&self) -> bool {
        self.kind.is_some_and(|kind| STRUCTURES.contains(&kind))
    }

    /// Size of the part after the common one; `None` for an unknown kind.
    fn trailing_size(&self) -> Option<usize> {
        let vlen = self.vlen as usize;
        Some(match self.kind? {
            BtfKind::Int | BtfKind::Var | BtfKind::DeclTag => 4,
            BtfKind::Array => 12,
            BtfKind::Struct | BtfKind::Union | BtfKind::DataSec | BtfKind::Enum64 => vlen * 12,
            BtfKind::Enum | BtfKind::FuncProto => vlen * 8,
            BtfKind::Ptr
            | BtfKind::Fwd
            | BtfKind::Typedef
            | BtfKind::Volatile
            | BtfKind::Const
            | BtfKind::Restrict
            | BtfKind::Func
            | BtfKind::Float
            | BtfKind::TypeTag => 0,
            BtfKind::Unknown => return None,
        })
    }
}

fn read_type(blob: &[u8], at: usize) -> Option<Type> {
    let info = read_word(blob, at.checked_add(4)?)?;
    Some(Type {
        name: read_word(blob, at)?,
        kind: BtfKind::try_from(info >> 24 & 0x1f).ok(),
        vlen: info & 0xffff,
        kind_flag: info >> 31 == 1,
        size_or_id: read_word(blob, at.checked_add(8)?)?,
        rest: at.checked_add(12)?,
    })
}

fn read_word(blob: &[u8], at: usize) -> Option<u32> {
    blob.get(at..)?
        .first_chunk::<4>()
        .map(|bytes| u32::from_ne_bytes(*bytes))
}
