//! docs/peers.md and docs/oomhero.md name a test for each feature: the tests are there.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

use std::fs;

use xtask::workspace;

#[test]
fn every_row_names_tests_that_there_are() {
    let all = [("docs/peers.md", 30), ("docs/oomhero.md", 15)].map(|(page, least)| {
        let text = fs::read_to_string(workspace::root().join(page)).unwrap();
        let rows: Vec<String> = rows(&text).into_iter().map(str::to_owned).collect();
        assert!(rows.len() > least, "{} rows in {page}", rows.len());
        rows
    });
    for row in all.iter().flatten() {
        let tests = tests(row);
        assert!(!tests.is_empty(), "no test in: {row}");
        for (path, name) in tests {
            let file = fs::read_to_string(workspace::root().join(path))
                .unwrap_or_else(|error| panic!("{path}: {error}, in: {row}"));
            assert!(is_test(&file, name), "no test {name} in {path}");
        }
    }
}

/// By its sources at f56468c (the first version's last) and 2fc5413 (of the third): its variables, flags
/// and the names in its expressions, its file, its requests and its metrics.
const OF_OOMHERO: [(&str, &[&str]); 2] = [
    (
        "first",
        &[
            "WARNING",
            "CRITICAL",
            "COOLDOWN",
            "WARNING_SIGNAL",
            "CRITICAL_SIGNAL",
        ],
    ),
    (
        "third",
        &[
            "--warning",
            "--critical",
            "--loop-interval",
            "--cooldown-interval",
            "--warning-signal",
            "--critical-signal",
            "--http-file-path",
            "--version",
            "RUST_LOG",
            "memory_usage",
            "memory_current",
            "memory_max",
            "oom_score",
            "oom_score_adj",
            "{memory,io,cpu}_pressure_{some,full}_{avg10,avg60,avg300,total}",
            "url",
            "headers",
            "name",
            "value",
            "severity",
            "process",
            "collected_data",
            "memory_pressure",
            "io_pressure",
            "cpu_pressure",
            "pid",
            "cmdline",
            "severity_level",
            "severity_window",
        ],
    ),
];

#[test]
fn every_setting_of_oomhero_has_a_row() {
    let page = fs::read_to_string(workspace::root().join("docs/oomhero.md")).unwrap();
    for (version, names) in OF_OOMHERO {
        let mut of = "";
        let mut settings = String::new();
        for row in rows(&page) {
            let mut columns = row.split('|').map(str::trim).skip(1);
            of = columns.next().filter(|of| !of.is_empty()).unwrap_or(of);
            if of == version {
                settings.push_str(columns.next().unwrap());
            }
        }
        for name in names {
            let quoted = format!("`{name}`");
            assert!(
                settings.contains(&quoted),
                "no {name} of the {version} version"
            );
        }
    }
}

/// The rows of the tables whose last column is of tests.
fn rows(page: &str) -> Vec<&str> {
    let mut rows = Vec::new();
    let mut proved = false;
    for line in page.lines() {
        if !line.starts_with('|') {
            proved = false;
        } else if proved {
            rows.push(line);
        } else if line.ends_with("| test |") {
            proved = true;
        }
    }
    rows.retain(|row| !row.starts_with("|---"));
    rows
}

/// Path and name of each `path::name` in the last column.
fn tests(row: &str) -> Vec<(&str, &str)> {
    let last = row.trim_end_matches(['|', ' ']).rsplit(" | ").next();
    let quoted = last.unwrap().split('`').skip(1).step_by(2);
    quoted
        .map(|test| test.rsplit_once("::").unwrap_or((test, "")))
        .collect()
}

/// Whether the source has a test of that name, or a macro that is given the name, alone on its
/// line, and makes one of it.
fn is_test(source: &str, name: &str) -> bool {
    let is_fn = |line: &str| {
        let line = line.trim_start();
        let rest = line.strip_prefix("async ").unwrap_or(line);
        let rest = rest
            .strip_prefix("fn ")
            .and_then(|rest| rest.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with('('))
    };
    let lines: Vec<&str> = source.lines().collect();
    let has_fn = (0..lines.len()).any(|at| {
        let above = lines[..at].iter().rev();
        is_fn(lines[at])
            && above
                .map(|line| line.trim_start())
                .take_while(|line| line.starts_with("#["))
                .any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
    });
    let of_macro =
        source.contains("fn $case()") && lines.iter().any(|line| line.trim() == format!("{name},"));
    has_fn || of_macro
}

#[test]
fn only_tests_are_tests() {
    let source = "
    #[tokio::test(start_paused = true)]
    #[allow(unused)]
    async fn short() {}
    fn helper() {}
    #[test]
    fn longer_name() {}
    case,
";
    assert!(is_test(source, "short") && is_test(source, "longer_name"));
    for other in ["helper", "longer", "name", "case", ""] {
        assert!(!is_test(source, other), "{other}");
    }
    assert!(is_test("fn $case() {\n case,", "case"));
    let page =
        "| a | test |\n|---|---|\n| b | `c::d`, `e/f.rs::g` |\n\n| h | i |\n|---|---|\n| j | k |\n";
    assert_eq!(rows(page), ["| b | `c::d`, `e/f.rs::g` |"]);
    assert_eq!(tests(rows(page)[0]), [("c", "d"), ("e/f.rs", "g")]);
    assert!(tests("| b | `x` | none |").is_empty());
}
