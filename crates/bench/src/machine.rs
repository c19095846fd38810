//! The machine and the command of a measurement.

use anyhow::{Context as _, Result};

#[derive(Debug)]
pub(super) struct Machine {
    cores: usize,
    kernel: String,
    arch: String,
    date: String,
    /// Arguments of `cargo xtask`.
    command: String,
}

impl Machine {
    pub(super) fn here() -> Result<Self> {
        let uname = rustix::system::uname();
        // What follows the version is whose build it is.
        let release = uname.release().to_string_lossy();
        Ok(Self {
            cores: std::thread::available_parallelism()
                .context("count the CPUs")?
                .get(),
            kernel: release.split('-').next().unwrap_or_default().to_owned(),
            arch: uname.machine().to_string_lossy().into_owned(),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            command: command(std::env::args().skip(1)),
        })
    }

    /// For the head of a page.
    pub(super) fn line(&self) -> String {
        self.line_with("")
    }

    /// The same with more about the machine.
    pub(super) fn line_with(&self, more: &str) -> String {
        format!(
            "Made by `cargo xtask {}` on {}: {} CPUs, Linux {} on {}{more}. \
             Figures are of this one machine; the command makes those of yours.\n",
            self.command, self.date, self.cores, self.kernel, self.arch
        )
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self {
            cores: 2,
            kernel: "6.18.0".to_owned(),
            arch: "x86_64".to_owned(),
            date: "2026-11-21".to_owned(),
            command: "bench flood".to_owned(),
        }
    }
}

/// As it was typed, with files by their names alone.
fn command(args: impl Iterator<Item = String>) -> String {
    let args = args.map(|arg| match arg.rsplit_once('/') {
        Some((_, name)) => name.to_owned(),
        None => arg,
    });
    args.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_no_directory() {
        let args = ["bench", "flood", "--agent", "/home/me/oom-agent"];
        let args = args.into_iter().map(str::to_owned);
        assert_eq!(command(args), "bench flood --agent oom-agent");
    }
}
