//! docs/benchmarks.md is of two benchmarks: each writes its part and leaves the other's. Pure, but
//! for [`write`].

use std::fs;
use std::io;

use anyhow::{Context as _, Result};

use super::site::write_page;
use crate::workspace;

/// Whose part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// `bench capture`.
    Capture,
    /// `bench bonk`.
    Bonk,
}

/// Between the two.
const BORDER: &str = "\n<!-- bench bonk -->\n";

/// Writes one part.
pub(super) fn write(section: Section, text: &str) -> Result<()> {
    const PAGE: &str = "benchmarks.md";
    let path = workspace::root().join("docs").join(PAGE);
    let page = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        page => page.with_context(|| format!("read {}", path.display()))?,
    };
    write_page(PAGE, &with(&page, section, text))
}

fn with(page: &str, section: Section, text: &str) -> String {
    let (capture, bonk) = page.split_once(BORDER).unwrap_or((page, ""));
    let (capture, bonk) = match section {
        Section::Capture => (text, bonk),
        Section::Bonk => (capture, text),
    };
    if bonk.is_empty() {
        capture.to_owned()
    } else {
        format!("{capture}{BORDER}{bonk}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_writes_its_own_part_alone() {
        let first = with("", Section::Capture, "# A\n");
        assert_eq!(first, "# A\n");
        let both = with(&first, Section::Bonk, "# B\n");
        assert_eq!(both, "# A\n\n<!-- bench bonk -->\n# B\n");
        assert_eq!(with(&both, Section::Bonk, "# B\n"), both);
        let newer = with(&both, Section::Capture, "# C\n");
        assert_eq!(newer, "# C\n\n<!-- bench bonk -->\n# B\n");
    }
}
