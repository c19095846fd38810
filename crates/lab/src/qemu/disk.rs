//! The disk of a machine that is a Kubernetes node but for the kubelet: containerd and runc of
//! Debian's newest suite, with the libraries they were built for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::cache::Cache;
use xtask::debian::Debian;
use xtask::process::run;
use xtask::terminal;

use crate::apt::Apt;
use crate::image;

/// The suite to come.
const SUITE: &str = "sid";

/// Pods have the node's network: no CNI plugin is among them.
const PACKAGES: [&str; 6] = [
    "containerd",
    "runc",
    "libc6",
    "libseccomp2",
    "libgcc-s1",
    "busybox-static",
];

/// Room for what containerd writes, and for a file to swap to. Blocks without content take none here.
const SIZE: &str = "768M";

/// Puts it into the cache where it is not there yet: an image of ext4.
pub fn node_disk(cache: &Cache, debian: Debian) -> Result<PathBuf> {
    debian.install("the tier node", &["e2fsprogs"])?;
    let dir = cache.entry("debian-node-disk", |dir| {
        terminal::step("making a disk of Debian's containerd and runc (once)");
        let work = tempfile::tempdir().context("make a directory for packages")?;
        let suites = Apt::of_suites(work.path(), &[SUITE], "amd64")?;
        let root = work.path().join("root");
        for package in PACKAGES {
            suites.unpack(package, &root)?;
        }
        populate(&root)?;
        run(Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"])
            .arg(&root)
            .arg(image_in(dir))
            .arg(SIZE))
    })?;
    Ok(image_in(&dir))
}

fn image_in(dir: &Path) -> PathBuf {
    dir.join("disk.ext4")
}

/// What no package brings.
fn populate(root: &Path) -> Result<()> {
    // Debian's base-files has these links.
    for top in ["bin", "sbin", "lib", "lib64"] {
        let link = root.join(top);
        symlink(format!("usr/{top}"), &link).with_context(|| format!("link {}", link.display()))?;
    }
    for dir in [
        "dev", "proc", "sys", "tmp", "run", "opt/bin", "var/lib", "images",
    ] {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    }
    // containerd gives its sandboxes copies.
    for (file, contents) in [("hosts", "127.0.0.1 localhost\n"), ("resolv.conf", "")] {
        let path = root.join("etc").join(file);
        fs::write(&path, contents).with_context(|| format!("write {}", path.display()))?;
    }
    // The guest's own program is mounted there, which is a hog by that name.
    fs::write(root.join("init"), "").context("make a place for the guest's program")?;
    symlink("/init", root.join("usr/bin/hog")).context("link a hog")?;
    image::make(&root.join("usr/bin/busybox"), &root.join("images"))
}
