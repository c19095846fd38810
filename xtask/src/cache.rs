//! What takes minutes to make is made once a machine, outside the clone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::run;
use crate::{terminal, workspace};

/// A directory of finished things. An entry is either whole or absent: it is
/// made under another name and renamed, under a lock that the kernel drops with
/// its holder.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// `$OOM_BONKER_CACHE`, else `$XDG_CACHE_HOME/oom-bonker`, else
    /// `~/.cache/oom-bonker`.
    pub fn open() -> Result<Self> {
        let var = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let dir = match (var("OOM_BONKER_CACHE"), var("XDG_CACHE_HOME"), var("HOME")) {
            (Some(dir), _, _) => dir,
            (None, Some(xdg), _) => xdg.join("oom-bonker"),
            (None, None, Some(home)) => home.join(".cache/oom-bonker"),
            (None, None, None) => {
                bail!("no place for a cache: set OOM_BONKER_CACHE to a directory")
            }
        };
        Self::create(&dir)
    }

    /// A cache in `dir`, which is made where absent.
    fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        let dir = fs::canonicalize(dir).with_context(|| format!("resolve {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// Where the entry lies, if it is there.
    pub(crate) fn get(&self, name: &str) -> Option<PathBuf> {
        let path = self.dir.join(name);
        path.is_dir().then_some(path)
    }

    /// The entry's directory; where absent, `make` fills it first. Others that
    /// want the same entry meanwhile wait.
    pub fn entry(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        if let Some(path) = self.get(name) {
            return Ok(path);
        }
        let lock_path = self.dir.join(format!("{name}.lock"));
        let lock =
            File::create(&lock_path).with_context(|| format!("create {}", lock_path.display()))?;
        lock.lock()
            .with_context(|| format!("lock {}", lock_path.display()))?;
        if let Some(path) = self.get(name) {
            return Ok(path);
        }
        let unfinished = tempfile::Builder::new()
            .prefix(&format!("{name}.tmp-"))
            .tempdir_in(&self.dir)
            .with_context(|| format!("make a directory in {}", self.dir.display()))?;
        make(unfinished.path())?;
        let path = self.dir.join(name);
        fs::rename(unfinished.path(), &path)
            .with_context(|| format!("rename to {}", path.display()))?;
        // Renamed: there is nothing left for the guard to remove.
        let _ = unfinished.keep();
        Ok(path)
    }

    /// The entry's directory, with a program of crates.io that is built into it where absent; `adjust`
    /// adds to the call of cargo.
    pub(crate) fn install(
        &self,
        program: &str,
        version: &str,
        entry: &str,
        adjust: impl FnOnce(&mut Command),
    ) -> Result<PathBuf> {
        self.entry(entry, |dir| {
            terminal::step(format_args!("building {entry} (about a minute, once)"));
            let mut cargo = workspace::cargo();
            cargo
                .args(["install", "--quiet", "--locked", program])
                .args(["--version", version, "--root"])
                .arg(dir);
            adjust(&mut cargo);
            run(&mut cargo)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::create(&dir.path().join("deep/er")).unwrap();
        let first = cache
            .entry("thing", |dir| Ok(fs::write(dir.join("file"), "1")?))
            .unwrap();
        let again = cache.entry("thing", |_| panic!("made twice")).unwrap();
        assert_eq!(first, again);
        assert_eq!(fs::read_to_string(first.join("file")).unwrap(), "1");
    }

    #[test]
    fn a_failed_entry_is_absent_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::create(dir.path()).unwrap();
        let failed = cache.entry("thing", |dir| {
            fs::write(dir.join("half"), "")?;
            bail!("no luck")
        });
        assert!(failed.is_err());
        assert_eq!(cache.get("thing"), None);
        let left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["thing.lock"]);
    }
}
