//! The images that containers of the tests are made of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use xtask::image::{File, Image};

/// What the image's shell finds in its `/bin`.
const APPLETS: [&str; 9] = [
    "sh", "tail", "sleep", "cat", "mkfifo", "touch", "dd", "head", "true",
];

/// Writes `busybox.tar` and `pause.tar` of a static busybox: one with a shell as
/// its command, under the name of the public image too, for manifests with
/// that one; one that does nothing for 68 years, for a sandbox.
pub(super) fn make(busybox: &Path, out: &Path) -> Result<()> {
    let program = fs::read(busybox).with_context(|| format!("read {}", busybox.display()))?;
    let mut files: Vec<File<'_>> = ["bin", "tmp", "proc", "etc"].map(File::Directory).into();
    files.push(File::Program("bin/busybox", &program));
    files.extend(APPLETS.iter().map(|applet| File::Link {
        at: format!("bin/{applet}"),
        to: "busybox",
    }));
    for (archive, names, command) in [
        (
            "busybox.tar",
            &["localhost/busybox:1", "docker.io/library/busybox:1.37"][..],
            json!(["/bin/sh"]),
        ),
        (
            "pause.tar",
            &["localhost/pause:1"][..],
            json!(["/bin/sleep", "2147483647"]),
        ),
    ] {
        Image {
            names,
            config: json!({"Env": ["PATH=/bin"], "Cmd": command}),
            files: files.clone(),
        }
        .write(&out.join(archive))?;
    }
    Ok(())
}

/// The busybox of Debian's package, unpacked below `root`.
pub(crate) fn find_busybox(root: &Path) -> Result<PathBuf> {
    // /bin is a link where the package has it not itself.
    let places = ["bin/busybox", "usr/bin/busybox"].map(|path| root.join(path));
    let found = places.into_iter().find(|path| path.is_file());
    found.with_context(|| format!("no busybox in {}", root.display()))
}
