//! Virtual machines with other kernels, in software: no KVM is needed.

mod cpio;
mod disk;
mod kernels;
mod pi;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

pub use disk::node_disk;
use kernels::MODULES;
pub use kernels::{Kernels, SUITES};
pub use pi::{Pi, PiParts, Pulse, Run, runs};
use xtask::process::{Guard, show, wait_timeout};

/// Begins a line that the guest writes to its host, apart from the kernel's.
pub(crate) const PREFIX: &str = "@@oom-bonker ";

/// All that QEMU can emulate, but for:
///
/// - `erms` and `fsrm`: filling a page byte by byte is what emulation is slowest at.
/// - `cx16`: before 8.0 (its "target/i386: Inline cmpxchg16b") QEMU takes an operand of earlier
///   arithmetic for the flags after CMPXCHG16B. 6.12's allocator lives on that instruction: once in
///   three boots an interrupt came just then, with VM, NT or DF set, and the kernel panicked.
const CPU: &str = "max,-erms,-fsrm,-cx16";

/// Each CPU by a thread of its own.
const PARALLEL: &[&str] = &["-accel", "tcg,thread=multi"];

/// An instruction takes a nanosecond of the guest's clock, however long this host takes for it: what
/// the agent has time for does not depend on what else runs here. Of two CPUs one would stand still
/// while the other runs.
const COUNTED: &[&str] = &["-accel", "tcg,thread=single", "-icount", "shift=0"];

/// Only what hangs takes so long; a boot and all the guest does take about 8 s on an idle machine.
const LIMIT: Duration = Duration::from_mins(15);

/// The same with a disk: containers take minutes.
const LIMIT_OF_A_NODE: Duration = Duration::from_mins(30);

/// A virtual machine that is yet to be started.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What to boot.
    pub kernel: PathBuf,
    /// Its root directory, see [`initrd`].
    pub initrd: PathBuf,
    /// With one, see [`node_disk`], it is a Kubernetes node. What the guest writes is not kept.
    pub disk: Option<PathBuf>,
}

/// What came out of the serial line.
#[derive(Debug, Clone)]
pub struct Serial {
    /// The guest's own lines.
    pub records: Vec<Value>,
    /// All of it.
    pub text: String,
}

impl Machine {
    /// Boots, and waits until the guest powers off.
    pub fn run(&self) -> Result<Serial> {
        let dir = tempfile::tempdir().context("make a directory for the serial line")?;
        let (serial, errors) = (dir.path().join("serial"), dir.path().join("stderr"));
        let (accelerator, cpus, megabytes, guest, limit) = match self.disk {
            None => (PARALLEL, "2", "512", "guest", LIMIT),
            Some(_) => (COUNTED, "1", "768", "guest --node", LIMIT_OF_A_NODE),
        };
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(accelerator)
            .args(["-cpu", CPU, "-M", "q35", "-smp", cpus, "-m", megabytes])
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none"])
            .arg("-serial")
            .arg(format!("file:{}", serial.display()))
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initrd)
            .arg("-append")
            // A host that is busy is late with the ticks by which the kernel tests the timer at boot: it panics.
            .arg(format!(
                "console=ttyS0 loglevel=4 panic=-1 no_timer_check -- {guest}"
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&errors).context("make a file for QEMU's errors")?);
        if let Some(disk) = &self.disk {
            command
                .arg("-drive")
                .arg(format!(
                    "if=none,id=disk,format=raw,snapshot=on,file={}",
                    disk.display()
                ))
                .args(["-device", "virtio-blk-pci,drive=disk"]);
        }
        let mut child = Guard::spawn(&mut command, Duration::ZERO)?;
        let ended = wait_timeout(&mut child, limit);
        drop(child);
        let read = |path: &Path| {
            fs::read(path).map_or_else(
                |_| String::new(),
                |bytes| String::from_utf8_lossy(&bytes).into_owned(),
            )
        };
        let text = read(&serial);
        let status = ended?;
        let records = records(&text);
        match status {
            Some(status) if !status.success() => {
                bail!("{}: {status}: {}", show(&command), read(&errors).trim())
            }
            None => bail!("the guest did not power off within {limit:?}:\n{text}"),
            Some(_) => Ok(Serial { records, text }),
        }
    }
}

/// Writes a root directory with `xtask` as its first process, the agent, and the kernel's modules that
/// lie in a directory.
pub fn initrd(xtask: &Path, agent: &Path, modules: Option<&Path>, to: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let mut archive = cpio::Archive::default();
    for dir in ["bin", "dev", "modules", "node", "proc", "sys", "tmp"] {
        archive.directory(dir)?;
    }
    archive.program("init", &read(xtask)?)?;
    // The kernel names a process after the file it was started by.
    archive.link("bin/hog", "/init")?;
    archive.program("bin/oom-agent", &read(agent)?)?;
    if let Some(modules) = modules {
        for module in MODULES {
            let name = format!("{module}.ko.xz");
            let module = read(&modules.join(&name))?;
            archive.program(&format!("modules/{name}"), &module)?;
        }
    }
    fs::write(to, archive.finish()?).with_context(|| format!("write {}", to.display()))
}

/// The guest's own lines among the kernel's.
fn records(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| line.split_once(PREFIX))
        .filter_map(|(_, json)| serde_json::from_str(json.trim_end()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_guests_lines_are_found_among_the_kernels() {
        let text = "[    0.1] Linux\r\n@@oom-bonker {\"a\":1}\r\nnoise @@oom-bonker [2]\n\
                    @@oom-bonker {\"cut\":\n";
        assert_eq!(records(text), [json!({"a": 1}), json!([2])]);
    }
}
