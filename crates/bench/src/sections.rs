//! docs/benchmarks.md is of three benchmarks: each writes its part and leaves the others'. Pure, but
//! for [`write`].

use std::fs;
use std::io;

use anyhow::{Context as _, Result};
use xtask::workspace;

use super::setup::write_page;

/// Whose part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// `bench capture`.
    Capture,
    /// `bench bonk`.
    Bonk,
    /// `bench pressure`.
    Pressure,
}

/// Before the second part, and before the third.
const BONK: &str = "\n<!-- bench bonk -->\n";
const PRESSURE: &str = "\n<!-- bench pressure -->\n";

/// Writes one part.
pub(super) fn write(section: Section, text: &str) -> Result<()> {
    const PAGE: &str = "benchmarks.md";
    let path = workspace::root().join("docs").join(PAGE);
    let page = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        page => page.with_context(|| format!("read {}", path.display()))?,
    };
    write_page(PAGE, &replace_section(&page, section, text))
}

fn replace_section(page: &str, section: Section, text: &str) -> String {
    let (rest, pressure) = page.split_once(PRESSURE).unwrap_or((page, ""));
    let (capture, bonk) = rest.split_once(BONK).unwrap_or((rest, ""));
    let (capture, bonk, pressure) = match section {
        Section::Capture => (text, bonk, pressure),
        Section::Bonk => (capture, text, pressure),
        Section::Pressure => (capture, bonk, text),
    };
    let mut page = capture.to_owned();
    for (border, part) in [(BONK, bonk), (PRESSURE, pressure)] {
        if !part.is_empty() {
            page.push_str(border);
            page.push_str(part);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_writes_its_own_part_alone() {
        let first = replace_section("", Section::Capture, "# A\n");
        assert_eq!(first, "# A\n");
        let both = replace_section(&first, Section::Bonk, "# B\n");
        assert_eq!(both, "# A\n\n<!-- bench bonk -->\n# B\n");
        assert_eq!(replace_section(&both, Section::Bonk, "# B\n"), both);
        let all = replace_section(&both, Section::Pressure, "# P\n");
        assert_eq!(all, format!("{both}\n<!-- bench pressure -->\n# P\n"));
        assert_eq!(replace_section(&all, Section::Bonk, "# B\n"), all);
        let newer = replace_section(&both, Section::Capture, "# C\n");
        assert_eq!(newer, "# C\n\n<!-- bench bonk -->\n# B\n");
        let newer = replace_section(&all, Section::Capture, "# C\n");
        assert_eq!(newer, all.replace("# A", "# C"));
        let newer = replace_section(&newer, Section::Pressure, "# Q\n");
        assert_eq!(newer, all.replace("# A", "# C").replace("# P", "# Q"));
        let two = replace_section(
            &replace_section("", Section::Pressure, "# P\n"),
            Section::Capture,
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
        assert_eq!(part(Section::Capture), "# Benchmarks");
        part(Section::Bonk);
    }
}
