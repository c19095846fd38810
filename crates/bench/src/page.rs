//! Where the figures of a benchmark go: the terminal, and a page of docs.

use std::fs;
use std::io;

use anyhow::{Context as _, Result};
use xtask::{terminal, workspace};

/// The figures of one run, and how they were made.
#[derive(Debug)]
pub(super) struct Page<'a> {
    /// In docs.
    pub(super) file: &'a str,
    pub(super) section: Section,
    pub(super) title: &'a str,
    /// More about the machine, after a comma.
    pub(super) machine: &'a str,
    pub(super) figures: String,
    /// How they were measured.
    pub(super) method: &'a str,
}

/// A part of a page of docs. docs/benchmarks.md is of three benchmarks: each writes its part and leaves
/// the others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// The whole page, where it has no other.
    First,
    /// `bench bonk`.
    Bonk,
    /// `bench pressure`.
    Pressure,
}

/// Before each section.
const BORDERS: [&str; 3] = ["", "\n<!-- bench bonk -->\n", "\n<!-- bench pressure -->\n"];

// === impl Page ===

impl Page<'_> {
    /// Shows the figures, and writes them into docs if `write`.
    pub(super) fn publish(&self, write: bool) -> Result<()> {
        terminal::line(format_args!("\n{}", self.figures));
        if !write {
            return Ok(());
        }
        let path = workspace::root().join("docs").join(self.file);
        let page = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            page => page.with_context(|| format!("read {}", path.display()))?,
        };
        let page = replace_section(&page, self.section, &self.text(&made_by(self.machine)?));
        fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
        terminal::line(format_args!("docs/{} is written", self.file));
        Ok(())
    }

    fn text(&self, made_by: &str) -> String {
        let (title, figures, method) = (self.title, &self.figures, self.method);
        format!("{title}\n\n{made_by}\n{figures}\n{method}")
    }
}

/// The command and the machine of a measurement.
fn made_by(more: &str) -> Result<String> {
    let command = command(std::env::args().skip(1));
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d");
    let cores = std::thread::available_parallelism().context("count the CPUs")?;
    let uname = rustix::system::uname();
    // What follows the version is whose build it is.
    let release = uname.release().to_string_lossy();
    let kernel = release.split('-').next().unwrap_or_default();
    let arch = uname.machine().to_string_lossy();
    Ok(format!(
        "Made by `cargo xtask {command}` on {date}: {cores} CPUs, Linux {kernel} on {arch}{more}. \
         Figures are of this one machine; the command makes those of yours.\n"
    ))
}

/// As it was typed, with files by their names alone.
fn command(args: impl Iterator<Item = String>) -> String {
    let args = args.map(|arg| match arg.rsplit_once('/') {
        Some((_, name)) => name.to_owned(),
        None => arg,
    });
    args.collect::<Vec<_>>().join(" ")
}

fn replace_section(page: &str, section: Section, text: &str) -> String {
    let [_, bonk, pressure] = BORDERS;
    let (rest, third) = page.split_once(pressure).unwrap_or((page, ""));
    let (first, second) = rest.split_once(bonk).unwrap_or((rest, ""));
    let mut parts = [first, second, third];
    if let Some(part) = parts.get_mut(section as usize) {
        *part = text;
    }
    let parts = BORDERS.iter().zip(parts);
    let parts = parts.filter(|(_, part)| !part.is_empty());
    parts.flat_map(|(border, part)| [border, part]).collect()
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

    #[test]
    fn each_writes_its_own_part_alone() {
        let first = replace_section("", Section::First, "# A\n");
        assert_eq!(first, "# A\n");
        let both = replace_section(&first, Section::Bonk, "# B\n");
        assert_eq!(both, "# A\n\n<!-- bench bonk -->\n# B\n");
        assert_eq!(replace_section(&both, Section::Bonk, "# B\n"), both);
        let all = replace_section(&both, Section::Pressure, "# P\n");
        assert_eq!(all, format!("{both}\n<!-- bench pressure -->\n# P\n"));
        assert_eq!(replace_section(&all, Section::Bonk, "# B\n"), all);
        let newer = replace_section(&both, Section::First, "# C\n");
        assert_eq!(newer, "# C\n\n<!-- bench bonk -->\n# B\n");
        let newer = replace_section(&all, Section::First, "# C\n");
        assert_eq!(newer, all.replace("# A", "# C"));
        let newer = replace_section(&newer, Section::Pressure, "# Q\n");
        assert_eq!(newer, all.replace("# A", "# C").replace("# P", "# Q"));
        let two = replace_section(
            &replace_section("", Section::Pressure, "# P\n"),
            Section::First,
            "# A\n",
        );
        assert_eq!(replace_section(&two, Section::Bonk, "# B\n"), all);
    }

    #[test]
    fn the_page_as_it_is_has_all_parts_and_keeps_them() {
        let page = include_str!("../../../docs/benchmarks.md");
        let part = |section| {
            let blank = replace_section(page, section, "@");
            assert_ne!(blank, page);
            let kept: Vec<&str> = blank.split('@').collect();
            let [before, after] = kept.as_slice() else {
                panic!("one part is replaced")
            };
            assert!(page.starts_with(before) && page.ends_with(after));
            let own = page.len() - before.len() - after.len();
            let text = &page[before.len()..before.len() + own];
            assert_eq!(replace_section(&blank, section, text), page);
            text.lines().find(|line| line.starts_with('#')).unwrap()
        };
        assert_eq!(part(Section::Pressure), "## Containers watched");
        assert_eq!(part(Section::First), "# Benchmarks");
        part(Section::Bonk);
    }

    #[test]
    fn a_page_shows_how_it_was_made() {
        let page = Page {
            file: "flood.md",
            section: Section::First,
            title: "# A flood",
            machine: "",
            figures: "Many.\n".to_owned(),
            method: "## Method\n",
        };
        let made_by = made_by(", bpftrace v0.17.0").unwrap();
        assert!(made_by.starts_with("Made by `cargo xtask "), "{made_by}");
        assert!(made_by.contains(", bpftrace v0.17.0. "), "{made_by}");
        assert_eq!(
            page.text("Made.\n"),
            "# A flood\n\nMade.\n\nMany.\n\n## Method\n"
        );
    }
}
