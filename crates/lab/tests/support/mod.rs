//! What the tiers share.
#![allow(
    dead_code,
    reason = "each tier is a program of its own and uses a part"
)]

pub(crate) mod admin;
pub(crate) mod cri;
pub(crate) mod guest;
pub(crate) mod oomhero;

use std::path::PathBuf;
use std::time::Duration;

use lab::{ApiServer, Containerd, wait};
use serde_json::Value;
use xtask::cache::Cache;
use xtask::debian::{Consent, Debian};

/// The bound on everything that follows from a kill. On an idle machine it takes milliseconds; only
/// the benchmarks measure how many.
pub(crate) const SOON: Duration = wait::HANG;

pub(crate) const MIB: u64 = 1 << 20;

/// The agent under test: built by `cargo xtask test`.
pub(crate) fn agent_bin() -> PathBuf {
    binary("OOM_AGENT_BIN")
}

/// The bonker under test.
pub(crate) fn bonker_bin() -> PathBuf {
    binary("BONKER_GPIO_BIN")
}

/// What `cargo xtask test` built and named in that variable.
pub(crate) fn binary(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).unwrap_or_else(|| {
        panic!("{variable} is not set: run `cargo xtask test`, not the tier by itself")
    });
    path.into()
}

/// A containerd of this test's own.
pub(crate) fn containerd() -> Containerd {
    let debian = Debian::new(Consent::Confirm).unwrap();
    let parts = Containerd::prepare(&Cache::open().unwrap(), debian).unwrap();
    Containerd::start(&parts).unwrap()
}

/// An API server of this test's own.
pub(crate) fn api_server() -> ApiServer {
    let parts = ApiServer::prepare(&Cache::open().unwrap()).unwrap();
    ApiServer::start(&parts).unwrap()
}

/// What `pointer` names; panics with the whole value where there is none.
pub(crate) fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value
        .pointer(pointer)
        .unwrap_or_else(|| panic!("no {pointer} in {value:#}"))
}

/// As [`at`], for text.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer)
        .as_str()
        .unwrap_or_else(|| panic!("{pointer} is no string in {value:#}"))
}

/// Whether a `degraded` entry names that field.
pub(crate) fn degraded(incident: &Value, field: &str) -> bool {
    let prefix = format!("{field}: ");
    at(incident, "/degraded")
        .as_array()
        .unwrap()
        .iter()
        .any(|entry| {
            entry
                .as_str()
                .is_some_and(|entry| entry.starts_with(&prefix))
        })
}
