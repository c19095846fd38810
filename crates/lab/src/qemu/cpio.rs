//! The archive that a kernel unpacks for its first root directory: cpio, "newc".
//!
//! Its format is in the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::io::Write as _;

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive in the making. Directories come before what lies in them.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub(super) fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, 0, &[]);
    }

    pub(super) fn program(&mut self, name: &str, contents: &[u8]) -> Result<()> {
        self.sized(name, PROGRAM, contents)
    }

    pub(super) fn link(&mut self, name: &str, to: &str) -> Result<()> {
        self.sized(name, LINK, to.as_bytes())
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, 0, &[]);
        self.bytes
    }

    fn sized(&mut self, name: &str, mode: u32, contents: &[u8]) -> Result<()> {
        let size = u32::try_from(contents.len())
            .with_context(|| format!("{name} is too large for an archive"))?;
        self.entry(name, mode, size, contents);
        Ok(())
    }

    fn entry(&mut self, name: &str, mode: u32, size: u32, contents: &[u8]) {
        self.entries = self.entries.saturating_add(1);
        let name_size = u32::try_from(name.len()).unwrap_or(0).saturating_add(1);
        // inode, mode, uid, gid, links, mtime, size, device, device of a node, name's size, checksum
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            // Writing to a vector cannot fail.
            let _ = write!(self.bytes, "{field:08x}");
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let mut archive = Archive::default();
        archive.program("init", b"hello").unwrap();
        let bytes = archive.finish();
        let header = "070701\
            00000001000081ed000000000000000000000001000000000000000500000000\
            00000000000000000000000000000005000000";
        assert_eq!(&bytes[..header.len()], header.as_bytes());
        // 110 bytes of header and 5 of name end at 115; the contents begin at 116.
        assert_eq!(&bytes[110..124], b"init\0\0hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
