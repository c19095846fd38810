//! `cargo xtask deb`: bonker-gpio as Debian packages for the Raspberry Pi, in `dist/`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cross::Board;
use crate::process::capture;
use crate::{build_ebpf, dist, terminal, workspace};

/// Flags of the command.
#[derive(Debug, Clone, Copy, clap::Args)]
// The flattened one is called Args, too.
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    build: build_ebpf::Args,
    /// For which kind of Raspberry Pi [default: both].
    #[arg(long, value_enum)]
    target: Option<Board>,
}

/// What lies where in the package, and with which mode.
const FILES: [(&str, &str, u32); 5] = [
    ("deploy/bonker-gpio.toml", "etc/bonker-gpio.toml", 0o644),
    (
        "deploy/bonker-gpio.service",
        "lib/systemd/system/bonker-gpio.service",
        0o644,
    ),
    (
        "docs/wiring.md",
        "usr/share/doc/bonker-gpio/wiring.md",
        0o644,
    ),
    (
        "docs/wiring.svg",
        "usr/share/doc/bonker-gpio/wiring.svg",
        0o644,
    ),
    (
        "deploy/debian/copyright",
        "usr/share/doc/bonker-gpio/copyright",
        0o644,
    ),
];

/// Run by dpkg.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Builds, and packs.
pub fn main(args: Args) -> Result<()> {
    let boards = match args.target {
        Some(board) => vec![board],
        None => vec![Board::Aarch64, Board::Armv6],
    };
    for board in boards {
        let binary = dist::pi(board, args.build)?;
        let package = pack(board, &binary, &dist::dir())?;
        let shown = package.strip_prefix(workspace::root()).unwrap_or(&package);
        terminal::line(format_args!("{}", shown.display()));
    }
    Ok(())
}

/// Packs `binary` for `board` into `to`, and gives the package's path.
fn pack(board: Board, binary: &Path, to: &Path) -> Result<PathBuf> {
    let dir = tempfile::tempdir().context("make a directory for a package")?;
    let root = dir.path().join("root");
    let put = |name: &str, contents: &[u8], mode: u32| {
        let path = root.join(name);
        let what = || format!("write {}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(&root)).with_context(what)?;
        fs::write(&path, contents).with_context(what)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).with_context(what)
    };
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let program = read(binary)?;
    put("usr/bin/bonker-gpio", &program, 0o755)?;
    for (from, name, mode) in FILES {
        put(name, &read(&workspace::root().join(from))?, mode)?;
    }
    put(
        "usr/share/doc/bonker-gpio/NEWS",
        &read(&workspace::root().join("CHANGELOG.md"))?,
        0o644,
    )?;
    for script in SCRIPTS {
        let from = workspace::root().join("deploy/debian").join(script);
        put(&format!("DEBIAN/{script}"), &read(&from)?, 0o755)?;
    }
    put("DEBIAN/conffiles", b"/etc/bonker-gpio.toml\n", 0o644)?;
    let kib = program.len().div_ceil(1024);
    put("DEBIAN/control", control(board, kib).as_bytes(), 0o644)?;
    directories_for_all(&root)?;
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    let name = format!("bonker-gpio_{}_{}.deb", version(), architecture(board));
    let package = to.join(name);
    capture(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "--build"])
            .arg(&root)
            .arg(&package),
    )?;
    Ok(package)
}

/// Whatever this process's umask is.
fn directories_for_all(dir: &Path) -> Result<()> {
    let what = || format!("open {} to all", dir.display());
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).with_context(what)?;
    for entry in fs::read_dir(dir).with_context(what)? {
        let path = entry.with_context(what)?.path();
        if path.is_dir() {
            directories_for_all(&path)?;
        }
    }
    Ok(())
}

/// A pre-release sorts before its release by the tilde.
fn version() -> String {
    env!("CARGO_PKG_VERSION").replacen('-', "~", 1)
}

/// What the Pi's own dpkg calls itself, see `docs/adr/0016`.
fn architecture(board: Board) -> &'static str {
    match board {
        Board::Aarch64 => "arm64",
        Board::Armv6 => "armhf",
    }
}

fn control(board: Board, kib: usize) -> String {
    format!(
        "Package: bonker-gpio\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: The oom-bonker authors <oom-bonker@localhost>\n\
         Installed-Size: {kib}\n\
         Depends: adduser\n\
         Section: utils\n\
         Priority: optional\n\
         Description: swings a servo at a toy penguin for every Linux OOM kill\n\
         \x20Drives a servo on a pin of a Raspberry Pi for every bonk that oom-agent,\n\
         \x20or another client of bonk.v1, sends. The program is static.\n",
        version = version(),
        architecture = architecture(board),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::which;

    fn packed(board: Board) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join("binary");
        fs::write(&binary, "#!/bin/sh\n").unwrap();
        let package = pack(board, &binary, dir.path()).unwrap();
        (dir, package)
    }

    fn dpkg_deb(flag: &str, package: &Path) -> String {
        capture(Command::new("dpkg-deb").arg(flag).arg(package)).unwrap()
    }

    #[test]
    fn everything_lies_in_its_place_and_is_roots() {
        let (_dir, package) = packed(Board::Aarch64);
        let contents = dpkg_deb("--contents", &package);
        for wanted in [
            "-rwxr-xr-x root/root ./usr/bin/bonker-gpio",
            "-rw-r--r-- root/root ./etc/bonker-gpio.toml",
            "-rw-r--r-- root/root ./lib/systemd/system/bonker-gpio.service",
            "-rw-r--r-- root/root ./usr/share/doc/bonker-gpio/copyright",
            "drwxr-xr-x root/root ./usr/bin/",
        ] {
            let words: Vec<&str> = wanted.split(' ').collect();
            let found = contents.lines().any(|line| {
                let has: Vec<&str> = line.split_whitespace().collect();
                has.starts_with(&words[..2]) && has.ends_with(&words[2..])
            });
            assert!(found, "{wanted} in\n{contents}");
        }
    }

    #[test]
    fn the_package_has_what_dpkg_needs() {
        let check = |board, architecture: &str| {
            let (_dir, package) = packed(board);
            let name = package.file_name().unwrap().to_string_lossy().into_owned();
            assert!(name.ends_with(&format!("_{architecture}.deb")), "{name}");
            let info = dpkg_deb("--info", &package);
            for wanted in [
                &format!("Architecture: {architecture}"),
                "Depends: adduser",
                "postinst",
                "prerm",
                "postrm",
                "conffiles",
            ] {
                assert!(info.contains(wanted), "{wanted} in\n{info}");
            }
        };
        check(Board::Aarch64, "arm64");
        check(Board::Armv6, "armhf");
    }

    /// As root into a root directory of its own; the scripts do not run.
    #[test]
    fn dpkg_unpacks_it() {
        let (dir, package) = packed(Board::Aarch64);
        let root = dir.path().join("unpacked");
        let admin = root.join("var/lib/dpkg");
        for dir in ["info", "updates", "triggers"] {
            fs::create_dir_all(admin.join(dir)).unwrap();
        }
        fs::write(admin.join("status"), "").unwrap();
        capture(
            Command::new("dpkg")
                .arg(format!("--root={}", root.display()))
                .args(["--force-architecture", "--force-not-root"])
                .args(["--log=/dev/null", "--unpack"])
                .arg(&package),
        )
        .unwrap();
        assert!(root.join("usr/bin/bonker-gpio").is_file());
        let status = fs::read_to_string(admin.join("status")).unwrap();
        assert!(status.contains("Status: install ok unpacked"), "{status}");
        assert!(
            status.contains("Conffiles:\n /etc/bonker-gpio.toml"),
            "{status}"
        );
    }

    #[test]
    fn scripts_are_sound() {
        for script in SCRIPTS {
            let path = workspace::root().join("deploy/debian").join(script);
            capture(Command::new("sh").arg("-n").arg(&path)).unwrap();
        }
    }

    /// The unit names nothing that the package does not bring.
    #[test]
    fn the_unit_fits_the_package() {
        let unit = workspace::root().join("deploy/bonker-gpio.service");
        let unit = fs::read_to_string(unit).unwrap();
        for wanted in [
            "ExecStart=/usr/bin/bonker-gpio serve --config /etc/bonker-gpio.toml",
            "Type=notify",
            "WatchdogSec=",
            "User=bonker-gpio",
            "SupplementaryGroups=gpio",
            "StateDirectory=bonker-gpio",
            "ProtectSystem=strict",
            "NoNewPrivileges=yes",
        ] {
            assert!(
                unit.lines().any(|line| line.starts_with(wanted)),
                "{wanted}"
            );
        }
    }

    /// systemd's own judgement, where it is installed: of 10, the less the better.
    #[test]
    fn systemd_takes_the_unit() {
        const EXPOSURE: &str = "--threshold=20";
        if which("systemd-analyze").is_none() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let unit = dir.path().join("bonker-gpio.service");
        let text = fs::read_to_string(workspace::root().join("deploy/bonker-gpio.service"));
        // It is not installed here.
        let text = text.unwrap().replace("/usr/bin/bonker-gpio", "/bin/true");
        fs::write(&unit, text).unwrap();
        let analyze = |args: &[&str]| {
            let mut command = Command::new("systemd-analyze");
            let output = command.args(args).arg(&unit).output().unwrap();
            let report = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.success(), report)
        };
        assert_eq!(analyze(&["verify"]), (true, String::new()));
        let (fine, report) = analyze(&["security", "--offline=true", EXPOSURE]);
        assert!(fine, "{report}");
    }
}
