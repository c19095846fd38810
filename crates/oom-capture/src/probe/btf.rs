//! A reader of the kernel's BTF, for the offsets of structure members.
//!
//! The format: <https://docs.kernel.org/bpf/btf.html>. The blob is read in place, with an index of four bytes for
//! each type: `vmlinux` has over 120,000 of them.

use super::error::BtfError;

/// BTF's numbers of kinds.
pub(super) mod kind {
    pub(in crate::probe) const INT: u32 = 1;
    pub(in crate::probe) const PTR: u32 = 2;
    pub(in crate::probe) const ARRAY: u32 = 3;
    pub(in crate::probe) const STRUCT: u32 = 4;
    pub(in crate::probe) const UNION: u32 = 5;
    pub(in crate::probe) const ENUM: u32 = 6;
    pub(in crate::probe) const FWD: u32 = 7;
    pub(in crate::probe) const TYPEDEF: u32 = 8;
    pub(in crate::probe) const VOLATILE: u32 = 9;
    pub(in crate::probe) const CONST: u32 = 10;
    pub(in crate::probe) const RESTRICT: u32 = 11;
    pub(in crate::probe) const FUNC: u32 = 12;
    pub(in crate::probe) const FUNC_PROTO: u32 = 13;
    pub(in crate::probe) const VAR: u32 = 14;
    pub(in crate::probe) const DATASEC: u32 = 15;
    pub(in crate::probe) const FLOAT: u32 = 16;
    pub(in crate::probe) const DECL_TAG: u32 = 17;
    pub(in crate::probe) const TYPE_TAG: u32 = 18;
    pub(in crate::probe) const ENUM64: u32 = 19;
}

const MAGIC: u16 = 0xeb9f;

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
    kind: u32,
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
        let header = |at: usize| read_word(&blob, at).ok_or(BtfError::Truncated { at });
        let magic_and_version = header(0)?;
        if magic_and_version & 0xffff != u32::from(MAGIC) {
            return Err(BtfError::Magic {
                found: magic_and_version,
            });
        }
        let header_len = header(4)? as usize;
        let types = header_len.saturating_add(header(8)? as usize);
        let end = types.saturating_add(header(12)? as usize);
        let strings = header_len.saturating_add(header(16)? as usize);

        let mut starts = vec![0];
        let mut at = types;
        while at < end {
            let ty = read_type(&blob, at).ok_or(BtfError::Truncated { at })?;
            let size = ty.trailing_size().ok_or(BtfError::Kind {
                kind: ty.kind,
                type_id: starts.len(),
            })?;
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
        self.find(name, |ty| ty.kind == kind::STRUCT || ty.kind == kind::UNION)
    }

    pub(super) fn find_typedef(&self, name: &str) -> Option<u32> {
        self.find(name, |ty| ty.kind == kind::TYPEDEF)
    }

    pub(super) fn find_function(&self, name: &str) -> Option<u32> {
        self.find(name, |ty| ty.kind == kind::FUNC)
    }

    /// Finds a member of a structure, in its anonymous members too.
    pub(super) fn find_member(&self, structure: u32, name: &str) -> Option<Member> {
        self.find_member_within(structure, name, MAX_NESTING)
    }

    /// The value of an enumerator of any enum.
    pub(super) fn find_enumerator(&self, name: &str) -> Option<u32> {
        (1..self.starts.len()).find_map(|id| {
            let ty = self.get(u32::try_from(id).ok()?)?;
            let entry = match ty.kind {
                kind::ENUM => 8,
                kind::ENUM64 => 12,
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
        (ty.kind == kind::ARRAY).then(|| read_word(&self.blob, ty.rest))?
    }

    /// Size of a structure, union or integer, in bytes.
    pub(super) fn type_size(&self, type_id: u32) -> Option<u32> {
        let ty = self.get(self.resolve_type(type_id)?)?;
        matches!(ty.kind, kind::STRUCT | kind::UNION | kind::INT).then_some(ty.size_or_id)
    }

    /// Whether a type is a structure, behind typedefs and qualifiers.
    pub(super) fn is_structure(&self, type_id: u32) -> bool {
        self.resolve_type(type_id)
            .and_then(|id| self.get(id))
            .is_some_and(|ty| matches!(ty.kind, kind::STRUCT | kind::UNION))
    }

    /// Whether parameter `n` of this function pointer type is a pointer to a structure. `btf_trace_NAME` is such a
    /// type for every tracepoint; its parameter 0 is the probe's own data.
    pub(super) fn takes_structure(&self, typedef: &str, n: u32) -> Option<bool> {
        let pointer = self.get(self.resolve_type(self.find_typedef(typedef)?)?)?;
        let prototype = self.get(self.resolve_type(pointer.size_or_id)?)?;
        if prototype.kind != kind::FUNC_PROTO || n >= prototype.vlen {
            return None;
        }
        let parameter = read_word(&self.blob, prototype.rest + n as usize * 8 + 4)?;
        let parameter = self.get(self.resolve_type(parameter)?)?;
        Some(parameter.kind == kind::PTR && self.is_structure(parameter.size_or_id))
    }

    fn find_member_within(&self, structure: u32, name: &str, nesting: u32) -> Option<Member> {
        let nesting = nesting.checked_sub(1)?;
        let ty = self.get(self.resolve_type(structure)?)?;
        if !matches!(ty.kind, kind::STRUCT | kind::UNION) {
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
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    type_id = ty.size_or_id;
                }
                _ => return Some(type_id),
            }
        }
        None
    }

    fn find(&self, name: &str, is_wanted: impl Fn(&Type) -> bool) -> Option<u32> {
        (1..self.starts.len()).find_map(|id| {
            let id = u32::try_from(id).ok()?;
            let ty = self.get(id)?;
            (is_wanted(&ty) && self.is_string(ty.name, name)).then_some(id)
        })
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
    /// Size of the part after the common one; `None` for an unknown kind.
    fn trailing_size(&self) -> Option<usize> {
        let vlen = self.vlen as usize;
        Some(match self.kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => vlen * 12,
            kind::ENUM | kind::FUNC_PROTO => vlen * 8,
            kind::PTR
            | kind::FWD
            | kind::TYPEDEF
            | kind::VOLATILE
            | kind::CONST
            | kind::RESTRICT
            | kind::FUNC
            | kind::FLOAT
            | kind::TYPE_TAG => 0,
            _ => return None,
        })
    }
}

fn read_type(blob: &[u8], at: usize) -> Option<Type> {
    let info = read_word(blob, at.checked_add(4)?)?;
    Some(Type {
        name: read_word(blob, at)?,
        kind: info >> 24 & 0x1f,
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
