//! `cargo xtask deb`: bonker-gpio as Debian packages for the Raspberry Pi, in `dist/`.

use std::fs;
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

/// From where in the workspace, what, and to where in the package.
const FILES: [(&str, &str, &str); 5] = [
    ("deploy", "bonker-gpio.toml", "etc"),
    ("deploy", "bonker-gpio.service", "lib/systemd/system"),
    ("docs", "wiring.md", DOC),
    ("docs", "wiring.svg", DOC),
    ("deploy/debian", "copyright", DOC),
];
const DOC: &str = "usr/share/doc/bonker-gpio";

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
    // Whatever this process's umask is, directories are for all.
    let install = |from: &Path, to: &str, mode: &str| {
        let mut install = Command::new("install");
        install.args(["-D", "--mode", mode]);
        capture(install.arg(from).arg(root.join(to)))
    };
    install(binary, "usr/bin/bonker-gpio", "0755")?;
    let source = workspace::root();
    for (from, name, to) in FILES {
        let from = source.join(from).join(name);
        install(&from, &format!("{to}/{name}"), "0644")?;
    }
    install(&source.join("CHANGELOG.md"), &format!("{DOC}/NEWS"), "0644")?;
    for script in SCRIPTS {
        let from = source.join("deploy/debian").join(script);
        install(&from, &format!("DEBIAN/{script}"), "0755")?;
    }
    let size = fs::metadata(binary).with_context(|| format!("read {}", binary.display()))?;
    let control = control(board, size.len().div_ceil(1024));
    let made = [
        ("conffiles", "/etc/bonker-gpio.toml\n"),
        ("control", &control),
    ];
    for (name, text) in made {
        let file = dir.path().join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        install(&file, &format!("DEBIAN/{name}"), "0644")?;
    }
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    let architecture = board.target().debian;
    let package = to.join(format!("bonker-gpio_{}_{architecture}.deb", version()));
    capture(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "--build"])
            .arg(&root)
            .arg(&package),
    )?;
    Ok(package)
}

/// A pre-release sorts before its release by the tilde.
fn version() -> String {
    env!("CARGO_PKG_VERSION").replacen('-', "~", 1)
}

fn control(board: Board, kib: u64) -> String {
    let (version, architecture) = (version(), board.target().debian);
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
