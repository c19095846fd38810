//! What an emulated Raspberry Pi boots: Debian's kernel, its device tree and modules, a busybox.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::cache::Cache;
use xtask::cross::Board;
use xtask::debian::Debian;
use xtask::process::capture;
use xtask::terminal;

use crate::apt::Apt;
use crate::image::find_busybox;
use crate::qemu::kernels::image;

const SUITE: &str = "bookworm";

/// USB host, the phy it waits for, the network adapter, and what powers the board off.
const MODULES: [&str; 4] = ["phy_generic", "dwc2", "cdc_ether", "bcm2835_wdt"];

/// The files of both boards.
#[derive(Debug, Clone)]
pub struct PiParts {
    dir: PathBuf,
}

/// The files of one board.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) kernel: PathBuf,
    pub(super) device_tree: PathBuf,
    pub(super) busybox: PathBuf,
    /// In the order in which they are loaded.
    pub(super) modules: Vec<PathBuf>,
}

impl PiParts {
    /// Installs QEMU, and downloads what is booted where it is not there yet.
    pub fn prepare(cache: &Cache, debian: Debian) -> Result<Self> {
        let tools = ["qemu-system-arm", "device-tree-compiler", "kmod"];
        debian.install("the tier pi", &tools)?;
        let dir = cache.entry("debian-pi-2", |dir| {
            terminal::step(
                "downloading Debian's kernels for the Raspberry Pi (about a minute, once)",
            );
            for board in [Board::Aarch64, Board::Armv6] {
                let to = dir.join(board.name());
                fs::create_dir(&to).with_context(|| format!("make {}", to.display()))?;
                fetch(board, &to).with_context(|| format!("for {}", board.name()))?;
            }
            Ok(())
        })?;
        Ok(Self { dir })
    }

    pub(super) fn files_of(&self, board: Board) -> Result<Files> {
        let dir = self.dir.join(board.name());
        let list = || format!("list the modules in {}", dir.display());
        let modules = fs::read_dir(dir.join("modules")).with_context(list)?;
        let modules = modules.map(|entry| Ok(entry.with_context(list)?.path()));
        let mut modules = modules.collect::<Result<Vec<_>>>()?;
        modules.sort();
        Ok(Files {
            kernel: dir.join("kernel"),
            device_tree: dir.join("device-tree"),
            busybox: dir.join("busybox"),
            modules,
        })
    }
}

fn fetch(board: Board, to: &Path) -> Result<()> {
    let (architecture, meta, tree) = match board {
        Board::Aarch64 => ("arm64", "linux-image-arm64", "broadcom/bcm2837-rpi-3-b.dtb"),
        Board::Armv6 => ("armel", "linux-image-rpi", "bcm2835-rpi-a-plus.dtb"),
    };
    let work = tempfile::tempdir().context("make a directory for packages")?;
    let suites = Apt::of_suites(work.path(), &[SUITE], architecture)?;
    let depends = suites.depends(meta, SUITE)?;
    let package = image(&depends).with_context(|| format!("a kernel in {depends:?}"))?;
    let root = work.path().join("root");
    for package in [package, "busybox-static"] {
        suites.unpack(package, &root)?;
    }
    let release = package.trim_start_matches("linux-image-");
    let copy = |from: PathBuf, name: &str| {
        let to = to.join(name);
        fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))
    };
    copy(root.join(format!("boot/vmlinuz-{release}")), "kernel")?;
    let trees = root.join("usr/lib").join(package);
    copy(trees.join(tree), "device-tree")?;
    if board == Board::Aarch64 {
        set_system_timer(&to.join("device-tree"))?;
    }
    copy(find_busybox(&root)?, "busybox")?;
    fs::create_dir(to.join("modules")).context("make a directory for modules")?;
    for (at, from) in modules(&root, release)?.into_iter().enumerate() {
        let name = from.file_name().context("a module's name")?;
        let name = format!("modules/{at:02}-{}", name.to_string_lossy());
        copy(from, &name)?;
    }
    Ok(())
}

/// [`MODULES`] and what they need, each after those that it depends on itself.
fn modules(root: &Path, release: &str) -> Result<Vec<PathBuf>> {
    capture(
        Command::new("depmod")
            .arg("--basedir")
            .arg(root)
            .arg(release),
    )?;
    let mut order = Vec::new();
    for module in MODULES {
        // Of the package alone, without this host's settings.
        let mut modprobe = Command::new("modprobe");
        modprobe
            .args([
                "--config=/dev/null",
                "--show-depends",
                "--set-version",
                release,
            ])
            .arg("--dirname")
            .arg(root);
        let needed = capture(modprobe.arg(module))?;
        // What is built into the kernel is `builtin` with its name.
        for path in needed
            .lines()
            .filter_map(|line| line.strip_prefix("insmod "))
        {
            let path = PathBuf::from(path.trim_end());
            if !order.contains(&path) {
                order.push(path);
            }
        }
    }
    Ok(order)
}

/// Has Debian's arm64 kernel read the system timer, as the Pi 1's kernel does: QEMU traces that
/// clock, and not the CPU's own. The kernel is built without the timer's driver, but has one for a
/// counter of microseconds at another offset (`timer-tegra.c`: `TIMERUS_CNTR_1US`, 0x10).
fn set_system_timer(device_tree: &Path) -> Result<()> {
    const TIMER: &str = "/soc/timer@7e003000";
    // The driver reads a clock's rate.
    let mut clock = Command::new("fdtget");
    clock.args(["-t", "x"]).arg(device_tree);
    let clock = capture(clock.args(["/clocks/clk-osc", "phandle"]))?;
    for (kind, property, value) in [
        ("s", "compatible", "nvidia,tegra20-timer"),
        ("x", "reg", "7e002ff4 60"),
        ("x", "clocks", clock.trim()),
    ] {
        let mut put = Command::new("fdtput");
        put.args(["-t", kind]).arg(device_tree);
        capture(put.args([TIMER, property]).args(value.split(' ')))?;
    }
    Ok(())
}
