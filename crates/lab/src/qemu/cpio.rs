//! The archive that a kernel unpacks for its first root directory: cpio, "newc".
//!
//! Its format is in the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use cpio::newc;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive in the making. Directories come before what lies in them.
#[derive(Debug, Default)]
pub(super) struct Archive(Vec<u8>);

impl Archive {
    pub(super) fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(name, DIRECTORY, &[])
    }

    pub(super) fn program(&mut self, name: &str, contents: &[u8]) -> Result<()> {
        self.entry(name, PROGRAM, contents)
    }

    pub(super) fn link(&mut self, name: &str, to: &str) -> Result<()> {
        self.entry(name, LINK, to.as_bytes())
    }

    pub(super) fn finish(self) -> Result<Vec<u8>> {
        newc::trailer(self.0).context("end an archive")
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) -> Result<()> {
        let attempt = || format!("put {name} into an archive");
        let size = u32::try_from(contents.len()).with_context(attempt)?;
        let entry = newc::Builder::new(name).mode(mode).nlink(1);
        let mut entry = entry.write(&mut self.0, size);
        entry.write_all(contents).with_context(attempt)?;
        entry.finish().map(drop).with_context(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let mut archive = Archive::default();
        archive.program("init", b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        let header = "070701\
            00000000000081ed000000000000000000000001000000000000000500000000\
            00000000000000000000000000000005000000";
        assert_eq!(&bytes[..header.len()], header.as_bytes());
        // 110 bytes of header and 5 of name end at 115; the contents begin at 116.
        assert_eq!(&bytes[110..124], b"init\0\0hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
