//! A Kubernetes node as people have it, but for the kubelet: containerd 2, runc 1.3 and cgroup v2 in a
//! virtual machine, pods as a kubelet makes them, and the agent in one of them. Every case's incident is
//! what it should be, field by field, and so are its Events.
//!
//! What a case does and expects is in `lab::guest::node`, which runs in there.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::thread;

use lab::guest::node::NAMES;
use lab::{Kernels, Machine, Serial, initrd, node_disk};
use support::guest::{Boot, serial_of};
use support::{binary, guest};
use xtask::cache::Cache;
use xtask::debian::{Consent, Debian};

/// Whose kernels are booted.
const SUITES: [&str; 2] = ["trixie", "sid"];

/// What is booted.
struct Bench {
    kernels: Kernels,
    disk: PathBuf,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let (cache, debian) = (
        Cache::open().unwrap(),
        Debian::new(Consent::Confirm).unwrap(),
    );
    Bench {
        kernels: Kernels::prepare(&cache, debian).unwrap(),
        disk: node_disk(&cache, debian).unwrap(),
    }
});

/// Both at once: each keeps one CPU busy.
static BOOTS: LazyLock<BTreeMap<&str, Boot>> = LazyLock::new(|| {
    thread::scope(|scope| {
        let guests = SUITES.map(|suite| (suite, scope.spawn(move || boot(suite))));
        let boots = guests.map(|(suite, guest)| (suite, guest.join().unwrap()));
        boots.into_iter().collect()
    })
});

fn boot(suite: &str) -> Boot {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("initrd");
    let (xtask, agent) = (binary("LAB_STATIC_BIN"), binary("OOM_AGENT_STATIC_BIN"));
    let modules = BENCH.kernels.modules_of(suite);
    initrd(&xtask, &agent, Some(&modules), &root).unwrap();
    let machine = Machine {
        kernel: BENCH.kernels.kernel_of(suite),
        initrd: root,
        disk: Some(BENCH.disk.clone()),
    };
    machine.run().map_err(|error| format!("{error:#}"))
}

fn serial(suite: &str) -> &'static Serial {
    serial_of(BOOTS.get(suite).unwrap())
}

macro_rules! kernel {
    ($module:ident, $suite:literal, $release:literal, [$($case:ident),+ $(,)?]) => {
        mod $module {
            use super::*;

            $(
                #[test]
                fn $case() {
                    guest::check(serial($suite), stringify!($case));
                }
            )+

            #[test]
            fn z_nothing_else_is_reported() {
                assert_eq!([$(stringify!($case)),+], NAMES);
                guest::check_end(serial($suite), $release);
                guest::check_summary(serial($suite), &[]);
            }
        }
    };
}

macro_rules! every_case_on {
    ($($module:ident: $suite:literal $release:literal),+ $(,)?) => {
        $(
            kernel!($module, $suite, $release, [
                limit_beside_unlimited,
                one_limited_container,
                systemd_names,
                two_of_which_one_is_hungry,
                pod_level_limit,
                volume_of_one_container,
                volume_of_two_containers,
                native_sidecar,
                init_container,
                ephemeral_container,
                executed_process,
                child_alone,
                child_with_its_group,
                many_processes,
                limit_lowered_below_usage,
                swap_is_full_too,
                no_limit_below_kubepods,
                sandbox_of_another_runtime,
                node_full_by_a_host_process,
            ]);
        )+
    };
}

every_case_on! {
    linux_6_12: "trixie" "6.12.",
    linux_7: "sid" "7.",
}
