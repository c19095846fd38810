//! What a crate may not name is not among its dependencies.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

use std::collections::BTreeSet;

use xtask::process::capture;
use xtask::workspace;

/// All crates that it is built with, at any distance.
fn dependencies(package: &str) -> BTreeSet<String> {
    let mut tree = workspace::cargo();
    tree.args(["tree", "--package", package, "--edges", "normal"])
        .args(["--prefix", "none", "--offline", "--locked"]);
    let lines = capture(&mut tree).unwrap();
    let names = lines.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn each_crate_stays_within_its_walls() {
    let network = ["tokio", "hyper", "kube", "tonic"];
    for (package, more) in [
        ("memcg", &["clap", "aya"][..]),
        ("service", &["clap", "aya"]),
        ("oom-capture", &["clap"]),
        ("pressure", &["clap", "aya", "prometheus-client"]),
        ("xtask", &["aya", "rcgen"]),
        ("oom-agent", &["rppal", "redb"]),
        ("bonker-gpio", &["aya", "kube"]),
    ] {
        let found = dependencies(package);
        assert!(found.contains(package), "{package}");
        let is_program = matches!(package, "oom-agent" | "bonker-gpio");
        let network = network.iter().filter(|_| !is_program);
        for wall in network.chain(more) {
            assert!(!found.contains(*wall), "{package} is built with {wall}");
        }
    }
}
