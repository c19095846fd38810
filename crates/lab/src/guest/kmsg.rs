//! The kernel's own report of a kill, from its log.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result};
use rustix::fs::OFlags;

use super::kill::ExpectedKill;
use super::process::Resident;
use crate::wait;

/// The log, from when it was opened on.
#[derive(Debug)]
pub(super) struct Kmsg(File);

/// One invocation of the OOM killer, as the kernel logs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KernelReport {
    /// Name of the thread whose allocation it was.
    pub(super) comm: String,
    /// `None`: any.
    pub(super) gfp_mask: Option<u32>,
    pub(super) order: i32,
    /// In the order they were killed; the first of a group is logged twice.
    pub(super) killed: Vec<Killed>,
}

/// One victim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Killed {
    /// Of a thread that still had its memory.
    pub(super) tid: u32,
    /// `None`: any.
    pub(super) resident: Option<Resident>,
}

impl Kmsg {
    pub(super) fn open() -> Result<Self> {
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).context("a flag that fits")?;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking)
            .open("/dev/kmsg")
            .context("open /dev/kmsg")?;
        Ok(Self(file))
    }

    /// Passes over what was logged so far.
    pub(super) fn skip(&mut self) -> Result<()> {
        self.0
            .seek(SeekFrom::End(0))
            .map(drop)
            .context("seek in /dev/kmsg")
    }

    /// Waits until that many different victims are logged.
    pub(super) fn report(&mut self, victims: usize) -> Result<KernelReport> {
        let mut report = KernelReport::default();
        let complete = wait::until("the kernel's report", wait::HANG, || {
            let whole =
                |report: &KernelReport| !report.comm.is_empty() && report.killed.len() >= victims;
            // What comes after it is of another one.
            while !whole(&report) {
                report.parse_record(&self.line()?);
            }
            Some(())
        });
        complete.with_context(|| format!("{victims} victims, and so far {report:?}"))?;
        Ok(report)
    }

    /// One record; `None` when there is no other yet.
    fn line(&mut self) -> Option<String> {
        let mut buffer = vec![0; 8192];
        loop {
            match self.0.read(&mut buffer) {
                Ok(read) => {
                    let record = String::from_utf8_lossy(buffer.get(..read)?).into_owned();
                    return Some(record);
                }
                // EPIPE: records were overwritten before they were read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(_) => return None,
            }
        }
    }
}

impl KernelReport {
    /// What is sure of a kill without the log: of victims that hold still until then, their memory too.
    pub(super) fn presume(kill: &ExpectedKill<'_>, hold_still: bool) -> Self {
        let killed = kill.victims.iter().filter_map(|facts| {
            Some(Killed {
                tid: *facts.tids.first()?,
                resident: hold_still.then_some(facts.resident),
            })
        });
        Self {
            comm: "hog".to_owned(),
            gfp_mask: None,
            order: 0,
            killed: killed.collect(),
        }
    }

    fn parse_record(&mut self, record: &str) {
        // Documentation/ABI/testing/dev-kmsg: `6,339,5140900,-;message`, and lines of keys after it.
        let Some((_, message)) = record.split_once(';') else {
            return;
        };
        let message = message.lines().next().unwrap_or_default();
        if let Some((comm, rest)) = message.split_once(" invoked oom-killer: gfp_mask=0x") {
            let mask: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
            comm.clone_into(&mut self.comm);
            self.gfp_mask = Some(u32::from_str_radix(&mask, 16).unwrap_or_default());
            self.order = after(rest, "order=").unwrap_or_default();
        }
        // Of a group the first victim is killed once more, after all that was waited for.
        let has_begun = !self.comm.is_empty();
        if let Some(tid) = after(message, "Killed process ").filter(|_| has_begun) {
            let bytes = |key| after::<u64>(message, key).unwrap_or(0).saturating_mul(1024);
            let killed = Killed {
                tid,
                resident: Some(Resident {
                    anon: bytes("anon-rss:"),
                    file: bytes("file-rss:"),
                    shmem: bytes("shmem-rss:"),
                }),
            };
            if !self.killed.iter().any(|other| other.tid == tid) {
                self.killed.push(killed);
            }
        }
    }
}

/// The number that follows `key`.
fn after<T: std::str::FromStr>(text: &str, key: &str) -> Option<T> {
    let (_, rest) = text.split_once(key)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '-');
    rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_parsed() {
        let mut report = KernelReport::default();
        for record in [
            "4,1,1,-;eater invoked oom-killer: gfp_mask=0x100cca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=-5\n SUBSYSTEM=x\n",
            "6,2,2,-;CPU: 0 PID: 139 Comm: eater Not tainted\n",
            "3,3,3,-;Memory cgroup out of memory: Killed process 139 (hog) total-vm:205732kB, anon-rss:48128kB, file-rss:1280kB, shmem-rss:0kB, UID:0 pgtables:140kB oom_score_adj:0\n",
            "3,4,4,-;Memory cgroup out of memory: Killed process 139 (hog) total-vm:205732kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, UID:0\n",
            "not a record",
        ] {
            report.parse_record(record);
        }
        assert_eq!(
            report,
            KernelReport {
                comm: "eater".into(),
                gfp_mask: Some(0x10_0cca),
                order: 0,
                killed: vec![Killed {
                    tid: 139,
                    resident: Some(Resident {
                        anon: 48128 << 10,
                        file: 1280 << 10,
                        shmem: 0
                    })
                }],
            }
        );
        report.parse_record("4,1,1,-;kworker/0:1 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=-1, oom_score_adj=0");
        assert_eq!((report.comm.as_str(), report.order), ("kworker/0:1", -1));
    }
}
