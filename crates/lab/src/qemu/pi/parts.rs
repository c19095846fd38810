//! What an emulated Raspberry Pi boots: Debian's kernel, its device tree and modules, a busybox.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::cache::Cache;
use xtask::cross::Board;
use xtask::debian::Debian;
use xtask::process::capture;
use xtask::terminal;

use super::modules;
use crate::image::find_busybox;
use crate::qemu::kernels::image;
use crate::qemu::suites::Suites;

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
        debian.install("the tier pi", &["qemu-system-arm", "device-tree-compiler"])?;
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
        let mut modules: Vec<PathBuf> = files(&dir.join("modules"))?;
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
    let suites = Suites::update(work.path(), &[SUITE], architecture)?;
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
    let modules = modules_of(&root.join("lib/modules").join(release))?;
    let needs: BTreeMap<String, Vec<String>> = modules
        .iter()
        .map(|(name, path)| {
            let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            let depends = modules::depends(&bytes)
                .with_context(|| format!("the dependencies of {}", path.display()))?;
            Ok((name.clone(), depends))
        })
        .collect::<Result<_>>()?;
    for (at, name) in modules::in_order(&MODULES, &needs).into_iter().enumerate() {
        let from = modules.get(name).context("a module that was found")?;
        copy(from.clone(), &format!("modules/{at:02}-{name}.ko"))?;
    }
    Ok(())
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

/// Every module below `dir`, by name.
fn modules_of(dir: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.join("kernel")];
    while let Some(dir) = open.pop() {
        for path in files(&dir)? {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "ko")
                && let Some(stem) = path.file_stem()
            {
                found.insert(modules::name(&stem.to_string_lossy()), path);
            }
        }
    }
    Ok(found)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let list = || format!("list {}", dir.display());
    let entries = fs::read_dir(dir).with_context(list)?;
    entries
        .map(|entry| Ok(entry.with_context(list)?.path()))
        .collect()
}
