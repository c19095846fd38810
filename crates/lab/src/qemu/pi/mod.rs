//! An emulated Raspberry Pi that runs bonker-gpio, reachable over its network, its pin watched
//! from outside.

mod parts;
mod pulses;

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, PipeWriter, Read, Write as _, pipe};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};

use super::cpio;
use crate::output::Output;
use crate::port;
use crate::wait;
pub use parts::PiParts;
use pulses::{Event, Meter};
pub use pulses::{Pulse, Run, runs};
use xtask::cross::Board;
use xtask::process::Guard;

/// Longer than anything here takes on a busy machine; a boot takes some 10 s on an idle one.
const HANG: Duration = Duration::from_mins(10);

/// The pin that bonker-gpio takes, by its BCM number.
const PIN: u8 = 18;

/// The pin's registers, and the clock: every reading of it, since both kernels take the time from
/// the system timer.
const TRACE: &str = "trace:memory_region_ops_write,trace:bcm2835_systmr_read";

/// More pulses than a day of tests makes.
const MAX_PULSES: usize = 1_000_000;

/// How many of QEMU's own lines an error shows.
const SHOWN: usize = 20;

/// What the guest's first process runs.
const INIT: &[u8] = include_bytes!("init.sh");

/// A running board. Dropping it takes its power.
#[derive(Debug)]
pub struct Pi {
    _child: Guard,
    /// Its serial line: what bonker-gpio prints and logs, among others.
    pub serial: Output,
    watch: Arc<Mutex<Watch>>,
    port: u16,
    /// Where its initrd lies.
    _dir: tempfile::TempDir,
}

/// What was read of the trace.
#[derive(Debug, Default)]
struct Watch {
    meter: Meter,
    pulses: Vec<Pulse>,
    /// The last edge, or the start of a wait for rest, by the board's clock.
    rests_since: Duration,
    /// QEMU's own last lines.
    errors: VecDeque<String>,
}

// === impl Pi ===

impl Pi {
    /// Boots `board`, and waits until `bonker serve` with `args` prints where it listens.
    pub fn start(parts: &PiParts, board: Board, bonker: &Path, args: &[&str]) -> Result<Self> {
        let files = parts.files_of(board)?;
        let dir = tempfile::tempdir().context("make a directory for an initrd")?;
        let initrd = dir.path().join("initrd");
        let archive = archive(&files, bonker)?;
        fs::write(&initrd, archive).with_context(|| format!("write {}", initrd.display()))?;
        // If another takes the port between here and its start, QEMU fails with that error.
        let (port, _) = port::reserve()?;
        let (program, machine, uart, more) = match board {
            Board::Aarch64 => (
                "qemu-system-aarch64",
                "raspi3b",
                "0x3f201000",
                // One CPU, since QEMU lets one run at a time: while it runs another, pulses wait.
                "nr_cpus=1 clocksource=timer_us",
            ),
            Board::Armv6 => (
                "qemu-system-arm",
                "raspi1ap",
                "0x20201000",
                // QEMU has none of the registers that this driver takes for granted on a Pi 1.
                "initcall_blacklist=bcm2835_power_driver_init",
            ),
        };
        let now = SystemTime::UNIX_EPOCH
            .elapsed()
            .context("a clock past the epoch")?;
        let line = format!(
            // rppal maps the pins' registers, which the kernel's driver has already.
            "earlycon=pl011,{uart} console=ttyAMA0,115200 loglevel=3 panic=-1 \
             iomem=relaxed {more} bonker_epoch={} -- serve --listen 0.0.0.0:50051 --insecure {}",
            now.as_secs(),
            args.join(" ")
        );
        let mut command = Command::new(program);
        command
            .args(["-M", machine])
            // Time by the instruction, 8 ns each: a pulse is as long on a busy host as on an idle
            // one. By the host's clock, moreover, a Pi 1 that waited for a CPU sets its only timer
            // to a moment that is past, which QEMU takes for 71 minutes hence.
            .args(["-icount", "shift=3"])
            .args(["-display", "none", "-monitor", "none", "-no-reboot"])
            // What it writes there is in the trace.
            .args(["-serial", "null"])
            .arg("-netdev")
            .arg(format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:50051"))
            .args(["-device", "usb-net,netdev=net"])
            // To standard error, by the line.
            .args(["-d", TRACE])
            .arg("-kernel")
            .arg(&files.kernel)
            .arg("-dtb")
            .arg(&files.device_tree)
            .arg("-initrd")
            .arg(&initrd)
            .arg("-append")
            .arg(line)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = Guard::spawn(&mut command, Duration::ZERO)?;
        let trace = child.stderr.take().context("a piped standard error")?;
        let watch = Arc::<Mutex<Watch>>::default();
        let watching = Arc::clone(&watch);
        let (serial, to_serial) = pipe().context("make a pipe for a serial line")?;
        thread::spawn(move || read(&watching, trace, to_serial));
        let mut pi = Self {
            _child: child,
            serial: Output::new("the Pi", serial),
            watch,
            port,
            _dir: dir,
        };
        let ready = pi.serial.find("message that it listens", HANG, |line| {
            let ended = line.contains("bonker-gpio ended:");
            (ended || line.contains("listening on ")).then_some(!ended)
        });
        match ready {
            Ok(true) => Ok(pi),
            Ok(false) => {
                let lines: Vec<&str> = pi.serial.so_far().collect();
                bail!("bonker-gpio does not start:\n{}", lines.join("\n"))
            }
            Err(error) => Err(error.context(lock(&pi.watch).errors())),
        }
    }

    /// Where its bonker is reached from this host.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The pulses on GPIO 18 so far.
    pub fn pulses(&self) -> Vec<Pulse> {
        lock(&self.watch).pulses.clone()
    }

    /// Whether GPIO 18 is high.
    pub fn is_high(&self) -> bool {
        lock(&self.watch).meter.is_high()
    }

    /// Waits until nothing was done to GPIO 18 for `length` by the board's clock.
    pub fn wait_for_rest(&self, length: Duration) -> Result<()> {
        let mut watch = lock(&self.watch);
        watch.rests_since = watch.meter.now();
        drop(watch);
        wait::until(&format!("a rest of {length:?}"), HANG, || {
            let watch = lock(&self.watch);
            let rests = watch.meter.now().saturating_sub(watch.rests_since);
            (rests >= length).then_some(())
        })
        .with_context(|| {
            let watch = lock(&self.watch);
            let (now, edge) = (watch.meter.now(), watch.rests_since);
            format!("by the Pi's clock it is {now:?}, and the last edge was at {edge:?}")
        })
    }
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the trace to its end. QEMU waits for this reader alone.
///
/// The serial line is passed on from here, so that the pulses before a line of it are
/// known before the line is.
fn read(watch: &Mutex<Watch>, trace: impl Read, mut serial: PipeWriter) {
    let mut reader = BufReader::new(trace);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
        let text = String::from_utf8_lossy(&line);
        match pulses::parse_event(&text, PIN) {
            Some(Event::Serial(byte)) => {
                // Fails once the reader has ended.
                let _ = serial.write_all(&[byte]);
            }
            Some(event) => lock(watch).record(event),
            None if pulses::is_trace(&text) => {}
            None => lock(watch).keep_error(&text),
        }
        line.clear();
    }
}

// === impl Watch ===

impl Watch {
    fn record(&mut self, event: Event) {
        if let Event::Edge { .. } = event {
            self.rests_since = self.meter.now();
        }
        if let Some(pulse) = self.meter.feed(event)
            && self.pulses.len() < MAX_PULSES
        {
            self.pulses.push(pulse);
        }
    }

    fn keep_error(&mut self, line: &str) {
        if self.errors.len() == SHOWN {
            self.errors.pop_front();
        }
        self.errors.push_back(line.trim_end().to_owned());
    }

    fn errors(&self) -> String {
        let lines: Vec<&str> = self.errors.iter().map(String::as_str).collect();
        format!("QEMU's errors: {}", lines.join("\n"))
    }
}

/// The guest's root directory.
fn archive(files: &parts::Files, bonker: &Path) -> Result<Vec<u8>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let mut archive = cpio::Archive::default();
    for dir in ["bin", "dev", "modules", "proc", "sys", "tmp"] {
        archive.directory(dir)?;
    }
    archive.program("init", INIT)?;
    archive.program("bin/busybox", &read(&files.busybox)?)?;
    archive.program("bin/bonker-gpio", &read(bonker)?)?;
    for module in &files.modules {
        let name = module.file_name().context("a module's name")?;
        let name = format!("modules/{}", name.to_string_lossy());
        archive.program(&name, &read(module)?)?;
    }
    archive.finish()
}
