//! Container images made by hand: no registry is needed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::process::{capture, run};

/// What the image's shell finds in its `/bin`.
const APPLETS: [&str; 6] = ["sh", "tail", "sleep", "cat", "mkfifo", "touch"];

/// Writes `busybox.tar` and `pause.tar`, docker archives of a static busybox:
/// one with a shell as its command, one that does nothing for 68 years, for a
/// sandbox.
pub(super) fn make(busybox: &Path, out: &Path) -> Result<()> {
    let work = tempfile::tempdir().context("make a directory for images")?;
    let root = work.path().join("root");
    for dir in ["bin", "tmp", "proc", "etc"] {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    }
    fs::copy(busybox, root.join("bin/busybox"))
        .with_context(|| format!("copy {}", busybox.display()))?;
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).context("link an applet")?;
    }
    let layer = work.path().join("layer.tar");
    tar(&root, &layer, &["."])?;
    let sum = capture(Command::new("sha256sum").arg(&layer))?;
    let digest = sum.split(' ').next().context("a checksum")?;
    archive(work.path(), digest, "busybox", &json!(["/bin/sh"]), out)?;
    archive(
        work.path(),
        digest,
        "pause",
        &json!(["/bin/sleep", "2147483647"]),
        out,
    )
}

fn archive(
    work: &Path,
    digest: &str,
    name: &str,
    command: &serde_json::Value,
    out: &Path,
) -> Result<()> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{
        "Config": "config.json", "RepoTags": [format!("localhost/{name}:1")], "Layers": ["layer.tar"],
    }]);
    for (file, contents) in [("config.json", config), ("manifest.json", manifest)] {
        fs::write(work.join(file), contents.to_string())
            .with_context(|| format!("write {file}"))?;
    }
    tar(
        work,
        &out.join(format!("{name}.tar")),
        &["manifest.json", "config.json", "layer.tar"],
    )
}

fn tar(from: &Path, to: &Path, what: &[&str]) -> Result<()> {
    run(Command::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "--mtime=@0", "-C"])
        .arg(from)
        .arg("-cf")
        .arg(to)
        .args(what))
}
