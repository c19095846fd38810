//! The simplest reader of the kernel's log there can be: what one gets without BPF.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};

use anyhow::{Context as _, Result};

/// More than the kernel puts into one record.
const RECORD: usize = 16 << 10;

/// What is passed on: the kill itself, and the two lines of the report before it with the
/// cgroup and its limit (the report, unlike the kill, is left out when kills come fast).
const WANTED: [&str; 3] = ["Killed process ", "oom-kill:", "memory: usage "];

/// Writes the wanted lines from now on, each at once.
pub(super) fn main() -> Result<()> {
    let mut log = File::open("/dev/kmsg").context("open /dev/kmsg")?;
    log.seek(SeekFrom::End(0)).context("seek in /dev/kmsg")?;
    let mut out = std::io::stdout().lock();
    let mut buffer = vec![0; RECORD];
    loop {
        let size = match log.read(&mut buffer) {
            Ok(size) => size,
            // Records were overwritten before they were read; what follows is still there.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => continue,
            Err(error) => return Err(error).context("read /dev/kmsg"),
        };
        let record = String::from_utf8_lossy(buffer.get(..size).unwrap_or_default());
        if let Some(message) = message(&record)
            && WANTED.iter().any(|wanted| message.contains(wanted))
        {
            out.write_all(format!("{message}\n").as_bytes())
                .and_then(|()| out.flush())
                .context("write to standard output")?;
        }
    }
}

/// Documentation/ABI/testing/dev-kmsg: `6,339,5140900,-;message`, and lines of keys after it.
fn message(record: &str) -> Option<&str> {
    record.split_once(';')?.1.lines().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_its_message() {
        let record = "3,931,26212112,-;Memory cgroup out of memory: Killed process 7 (a;b)\n SUBSYSTEM=memory\n";
        assert_eq!(
            message(record),
            Some("Memory cgroup out of memory: Killed process 7 (a;b)")
        );
        assert_eq!(message("nonsense"), None);
    }
}
