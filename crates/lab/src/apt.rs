//! apt with lists of its own, so that nothing of the host's apt is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::debian::OPTIONS;
use xtask::process::capture;

/// Downloads packages.
pub(crate) struct Apt {
    dir: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// In `dir`, with these lists of sources by their names, fetched; `options` are apt's.
    pub(crate) fn update(
        dir: &Path,
        sources: &[(String, String)],
        options: &[(&str, &str)],
    ) -> Result<Self> {
        for sub in ["lists/partial", "cache/archives/partial", "parts"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        }
        for (name, text) in sources {
            let path = dir.join("parts").join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        let at = |sub: &str| dir.join(sub).display().to_string();
        let places = [
            ("Dir::Etc::sourcelist", "-".to_owned()),
            ("Dir::Etc::sourceparts", at("parts")),
            ("Dir::State::Lists", at("lists")),
            ("Dir::Cache", at("cache")),
            ("APT::Sandbox::User", "root".to_owned()),
        ];
        let places = places
            .iter()
            .map(|(option, value)| format!("{option}={value}"));
        let options = options
            .iter()
            .map(|(option, value)| format!("{option}={value}"));
        let apt = Self {
            dir: dir.to_owned(),
            options: places.chain(options).collect(),
        };
        capture(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    /// A command of one of apt's programs.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(OPTIONS);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The host's own lists of sources, with their extensions.
pub(crate) fn host_sources() -> Vec<(String, String)> {
    let parts = fs::read_dir("/etc/apt/sources.list.d");
    let parts = parts
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let lists = std::iter::once(PathBuf::from("/etc/apt/sources.list")).chain(parts);
    let read = |list: PathBuf| {
        let extension = list.extension().unwrap_or_default().to_string_lossy();
        Some((extension.into_owned(), fs::read_to_string(&list).ok()?))
    };
    lists.filter_map(read).collect()
}
