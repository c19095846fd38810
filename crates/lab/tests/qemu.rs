//! Other kernels than this machine's, with cgroup v2, each in a virtual machine:
//! every case's incident is what it should be, field by field.
//!
//! What a case does and expects is in `lab::guest`, which runs in there.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

use lab::guest::{INCIDENTS, LARGE_GROUP, names};
use lab::{Kernels, Machine, Serial, initrd};
use serde_json::Value;
use support::guest::{Boot, serial_of};
use support::{binary, guest};
use xtask::cache::Cache;
use xtask::debian::{Consent, Debian};

/// The group kills have this many victims more than the others have.
const OTHERS_OF_THE_GROUPS: usize = 3 + LARGE_GROUP - 1;

/// The victim of one case is on its way out already.
const EXITING: usize = 1;

/// What is booted.
struct Bench {
    kernels: Kernels,
    initrd: PathBuf,
    /// Where the initrd lies.
    _dir: tempfile::TempDir,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let debian = Debian::new(Consent::Confirm).unwrap();
    let kernels = Kernels::prepare(&Cache::open().unwrap(), debian).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("initrd");
    let (xtask, agent) = (binary("LAB_STATIC_BIN"), binary("OOM_AGENT_STATIC_BIN"));
    initrd(&xtask, &agent, None, &root).unwrap();
    Bench {
        kernels,
        initrd: root,
        _dir: dir,
    }
});

/// By suite. Each is booted when it is first needed, one after the other: each keeps both CPUs
/// busy, and a victim that waits for one is read late.
static BOOTS: Mutex<BTreeMap<&str, &'static Boot>> = Mutex::new(BTreeMap::new());

fn serial(suite: &'static str) -> &'static Serial {
    // A boot does not panic; what a failed preparation left is still a map.
    let mut boots = BOOTS.lock().unwrap_or_else(PoisonError::into_inner);
    let boot = boots.entry(suite).or_insert_with(|| {
        let machine = Machine {
            kernel: BENCH.kernels.kernel_of(suite),
            initrd: BENCH.initrd.clone(),
            disk: None,
        };
        let serial = machine.run().map_err(|error| format!("{error:#}"));
        Box::leak(Box::new(serial))
    });
    serial_of(boot)
}

fn check_end(suite: &'static str, release: &str) {
    let serial = serial(suite);
    guest::check_end(serial, release);
    let counts = [("incidents", INCIDENTS), ("already_exiting", EXITING)];
    let summary = guest::check_summary(serial, &counts);
    // Of a large group not all are read.
    let count = |counter: &str| summary.get(counter).and_then(Value::as_u64);
    let seen = count("autopsied").zip(count("counted"));
    let seen = seen.map(|(autopsied, counted)| autopsied + counted);
    let victims = INCIDENTS + OTHERS_OF_THE_GROUPS - EXITING;
    assert_eq!(seen, Some(victims as u64), "{summary}");
}

macro_rules! kernel {
    ($module:ident, $suite:literal, $release:literal, [$($case:ident),+ $(,)?]) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    super::guest::check(super::serial($suite), stringify!($case));
                }
            )+

            #[test]
            fn z_nothing_else_is_reported() {
                assert_eq!(super::names(), [$(stringify!($case)),+]);
                super::check_end($suite, $release);
            }
        }
    };
}

macro_rules! every_case_on {
    ($($module:ident: $suite:literal $release:literal),+ $(,)?) => {
        $(
            kernel!($module, $suite, $release, [
                single_kill,
                host_process,
                child_kill,
                group_kill,
                nested_group,
                large_group,
                nested_first_process,
                thread_kill,
                leaderless_kill,
                leaderless_bystander,
                already_exiting,
                pod_limit,
                ancestor_limit,
                counted_limit,
                same_limit,
                sum_of_limits,
                pod_level_limit,
                volume_decides,
                nested_limit,
                all_pods_limit,
                lowered_limit,
                node_bystander,
                node_wide,
                sysrq,
                sidecar,
                warned,
                verdicts,
                sampled,
                unkillable,
                storm,
            ]);
        )+
    };
}

every_case_on! {
    linux_5_10: "bullseye" "5.10.",
    linux_6_1: "bookworm" "6.1.",
    linux_6_12: "trixie" "6.12.",
    linux_7: "sid" "7.",
}
