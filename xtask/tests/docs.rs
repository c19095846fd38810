//! The Markdown pages: their links and their index.

#![allow(
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

use std::fs;
use std::path::Path;

use xtask::docs::pages;
use xtask::workspace;

/// Targets of links within the repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let links = text.split("](").skip(1);
    let targets = links.filter_map(|rest| Some(rest.split_once(')')?.0));
    targets.filter(|target| !target.contains("://"))
}

/// The anchors of its headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.replace(|c: char| !c.is_alphanumeric() && !" -_".contains(c), "");
        kept.replace(' ', "-")
    };
    headings.map(slug).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut checked = 0;
    for (page, text) in pages() {
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap_or(Path::new("")).join(file),
            };
            assert!(target.exists(), "{}: {link}", page.display());
            let found = anchor.is_empty() || {
                let text = fs::read_to_string(&target).unwrap();
                anchors(&text).iter().any(|known| known == anchor)
            };
            assert!(found, "{}: {link}", page.display());
            checked += 1;
        }
    }
    assert!(checked > 100, "{checked} links");
}

#[test]
fn every_page_is_in_its_index() {
    for index in ["docs/README.md", "docs/adr/README.md"] {
        let index = workspace::root().join(index);
        let text = fs::read_to_string(&index).unwrap();
        for (page, _) in pages() {
            let name = page.file_name().unwrap().to_str().unwrap();
            let listed = page == index || links(&text).any(|link| link == name);
            assert!(page.parent() != index.parent() || listed, "{name}");
        }
    }
}
