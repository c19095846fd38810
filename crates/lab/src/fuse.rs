//! A file system of one file that is as slow as a test wants it: a reader waits until it is released.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

// Of the kernel's include/uapi/linux/fuse.h, as all of the layouts below.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

const ROOT: u64 = 1;
const FILE: u64 = 2;
const LEN: u64 = 4096;

/// `struct fuse_in_header`.
const HEADER_LEN: usize = 40;

/// More than the kernel's `FUSE_MIN_READ_BUFFER`.
const BUFFER: usize = 1 << 16;

/// The mounted file system. Dropping it answers those that wait, and unmounts it.
#[derive(Debug)]
pub struct SlowFile {
    dir: tempfile::TempDir,
    reads: Receiver<()>,
    release: Option<Sender<()>>,
}

impl SlowFile {
    /// Takes the right to mount.
    pub fn mount() -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory to mount at")?;
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = device.context("open /dev/fuse")?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            device.as_raw_fd()
        );
        let options = std::ffi::CString::new(options).context("mount options")?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("slow", dir.path(), "fuse", flags, Some(&*options)).context("mount by FUSE")?;
        let (begun, reads) = channel();
        let (release, gate) = channel();
        thread::spawn(move || serve(device, &begun, &gate));
        Ok(Self {
            dir,
            reads,
            release: Some(release),
        })
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("file")
    }

    /// Waits until it is read.
    pub fn wait_for_read(&self, limit: std::time::Duration) -> Result<()> {
        let begun = self.reads.recv_timeout(limit);
        begun.with_context(|| format!("nothing reads the file within {limit:?}"))
    }

    /// Answers all reads from now on.
    pub fn release(&mut self) {
        self.release = None;
    }
}

impl Drop for SlowFile {
    fn drop(&mut self) {
        self.release();
        // With the last who has it open it is gone.
        let _unmounted = unmount(self.dir.path() as &Path, UnmountFlags::DETACH);
    }
}

/// Until it is unmounted.
fn serve(mut device: File, begun: &Sender<()>, gate: &Receiver<()>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match device.read(&mut buffer) {
            Ok(len) => {
                let request = buffer.get(..len).unwrap_or_default();
                if u32_at(request, 4) == Some(READ) {
                    // The test may have ended.
                    let _gone = begun.send(());
                    let _released = gate.recv();
                }
                if let Some(answer) = answer(request) {
                    // A request may have been taken back meanwhile.
                    let _taken_back = device.write_all(&answer);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // ENOENT: taken back before it was read. ENODEV: unmounted.
            Err(error) if error.raw_os_error() == Some(2) => {}
            Err(_) => return,
        }
    }
}

/// `None` where none is wanted.
fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let (operation, unique, node) = (
        u32_at(request, 4)?,
        u64_at(request, 8)?,
        u64_at(request, 16)?,
    );
    let (error, body): (i32, Vec<u8>) = match operation {
        FORGET | BATCH_FORGET | INTERRUPT => return None,
        // struct fuse_init_out: major, minor, …, max_write at 20.
        INIT => (0, fields(64, &[(0, 7), (4, 31), (20, LEN)])),
        // struct fuse_entry_out: nodeid, …, attr at 40.
        LOOKUP => {
            let mut entry = fields(40, &[(0, FILE)]);
            entry.extend(attributes(FILE));
            (0, entry)
        }
        // struct fuse_attr_out: attr at 16.
        GETATTR => {
            let mut out = vec![0; 16];
            out.extend(attributes(node));
            (0, out)
        }
        OPEN => (0, vec![0; 16]),
        READ => (0, vec![0; usize::try_from(LEN).unwrap_or_default()]),
        FLUSH | RELEASE => (0, Vec::new()),
        // ENOSYS.
        _ => (-38, Vec::new()),
    };
    // struct fuse_out_header.
    let len = u32::try_from(body.len().saturating_add(16)).ok()?;
    let mut answer = len.to_ne_bytes().to_vec();
    answer.extend(error.to_ne_bytes());
    answer.extend(unique.to_ne_bytes());
    answer.extend(body);
    Some(answer)
}

/// `struct fuse_attr`: ino, size, …, mode at 60, nlink.
fn attributes(node: u64) -> Vec<u8> {
    let mode = if node == ROOT { 0o040_755 } else { 0o100_644 };
    fields(88, &[(0, node), (8, LEN), (60, mode), (64, 1)])
}

/// Small numbers in a structure of zeros. Wider members begin with their lower half.
fn fields(len: usize, values: &[(usize, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for (at, value) in values {
        let value = u32::try_from(*value).unwrap_or_default().to_le_bytes();
        if let Some(room) = bytes.get_mut(*at..at.saturating_add(4)) {
            room.copy_from_slice(&value);
        }
    }
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(..HEADER_LEN)?.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}
