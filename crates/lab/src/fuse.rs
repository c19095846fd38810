//! A file system of one file that is as slow as a test wants it: a reader waits until it is released.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use fuser::{
    BackgroundSession, Config, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, Request,
};

const FILE: INodeNo = INodeNo(2);
const LEN: u16 = 4096;

/// How long the kernel may keep what it was answered.
const TTL: Duration = Duration::from_mins(1);

/// The mounted file system. Dropping it answers those that wait, and unmounts it.
#[derive(Debug)]
pub struct SlowFile {
    reads: Receiver<()>,
    // Before the file system, which waits for it.
    release: Option<Sender<()>>,
    _mounted: BackgroundSession,
    dir: tempfile::TempDir,
}

/// What answers the kernel: it says when a read begins, and waits until it is released.
#[derive(Debug)]
struct Slow {
    begun: Sender<()>,
    gate: Mutex<Receiver<()>>,
}

// === impl SlowFile ===

impl SlowFile {
    /// Takes the right to mount.
    pub fn mount() -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory to mount at")?;
        let (begun, reads) = channel();
        let (release, gate) = channel();
        let gate = Mutex::new(gate);
        let mounted = fuser::spawn_mount(Slow { begun, gate }, &dir, &Config::default());
        Ok(Self {
            reads,
            release: Some(release),
            _mounted: mounted.context("mount by FUSE")?,
            dir,
        })
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("file")
    }

    /// Waits until it is read.
    pub fn wait_for_read(&self, limit: Duration) -> Result<()> {
        let begun = self.reads.recv_timeout(limit);
        begun.with_context(|| format!("nothing reads the file within {limit:?}"))
    }

    /// Answers all reads from now on.
    pub fn release(&mut self) {
        self.release = None;
    }
}

// === impl Slow ===

impl Filesystem for Slow {
    fn lookup(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.entry(&TTL, &attributes(FILE), Generation(0));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attributes(node));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        // The test may have ended.
        let _gone = self.begun.send(());
        let _released = self.gate.lock().map(|gate| gate.recv());
        reply.data(&vec![0; LEN.into()]);
    }
}

fn attributes(node: INodeNo) -> FileAttr {
    let (kind, perm) = if node == INodeNo::ROOT {
        (FileType::Directory, 0o755)
    } else {
        (FileType::RegularFile, 0o644)
    };
    FileAttr {
        ino: node,
        size: LEN.into(),
        blocks: 1,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 512,
        flags: 0,
    }
}
