//! What an incident should show of the memory of the cgroups that a kill is about.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::kill::{ExpectedKill, SLACK};
use super::pods::ROOT;
use crate::expect::{between, percent};

/// Charges that the kernel cannot refuse go beyond a limit, in bytes.
const FORCED: u64 = 64 << 12;

/// More than the machine has.
const MOST: u64 = 1 << 30;

/// The incident's kinds of memory and the kernel's names for them.
const KINDS: [(&str, &str); 15] = [
    ("anon", "anon"),
    ("file", "file"),
    ("shmem", "shmem"),
    ("file_mapped", "file_mapped"),
    ("file_dirty", "file_dirty"),
    ("file_writeback", "file_writeback"),
    ("active_file", "active_file"),
    ("inactive_file", "inactive_file"),
    ("unevictable", "unevictable"),
    ("kernel", "kernel"),
    ("kernel_stack", "kernel_stack"),
    ("page_tables", "pagetables"),
    ("slab", "slab"),
    ("percpu", "percpu"),
    ("sock", "sock"),
];

/// `memory`, and its entries in `degraded`.
pub(super) fn expected_memory(kill: &ExpectedKill<'_>) -> Result<(Vec<Value>, Vec<String>)> {
    let (mut memory, mut degraded) = (Vec::new(), Vec::new());
    if kill.scope == "node" {
        memory.push(node(&mut degraded)?);
    }
    let victim = kill.victim_cgroup();
    let others = victim.filter(|path| kill.limit_cgroup != Some(path));
    for path in kill.limit_cgroup.into_iter().chain(others) {
        let at = memory.len();
        memory.push(cgroup(path, at, kill, &mut degraded)?);
    }
    Ok((memory, degraded))
}

fn cgroup(
    path: &str,
    at: usize,
    kill: &ExpectedKill<'_>,
    degraded: &mut Vec<String>,
) -> Result<Value> {
    let dir = format!("{ROOT}{path}");
    let limit = read_limit(path, "memory.max")?;
    let full = limit.filter(|_| kill.limit_cgroup == Some(path));
    // Some may have given their memory back by the time the first is read.
    let most = full.map_or(MOST, |limit| limit.saturating_add(FORCED));
    let usage = between(1, most);
    let least = full.map_or(1, |limit| limit.saturating_sub(2 * SLACK));
    let peak = between(least, most);
    let stat = text(&format!("{dir}/memory.stat"))?;
    let is_there = |name: &str| {
        stat.lines()
            .any(|line| line.split(' ').next() == Some(name))
    };
    let kinds = kinds(|_, name| is_there(name).then(|| between(0, MOST)));
    let swaps = Path::new(&dir).join("memory.swap.current").exists();
    let swap_limit = swaps.then(|| read_limit(path, "memory.swap.max"));
    let swap_limit = swap_limit.transpose()?.flatten();
    let swap = swap_limit.unwrap_or(MOST).min(swap_space()?);
    let pressure = pressure(&dir, "memory.pressure", at, degraded);
    Ok(json!({
        "cgroup": path,
        "limit_bytes": limit,
        "usage_bytes": usage,
        "peak_bytes": peak,
        "swap_bytes": swaps.then(|| between(0, swap)),
        "swap_limit_bytes": swap_limit,
        "stat": kinds,
        "pressure": pressure,
    }))
}

/// All of this machine's, in bytes.
fn swap_space() -> Result<u64> {
    let swaps = text("/proc/swaps")?;
    let kib = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
    let kib: u64 = swaps.lines().skip(1).filter_map(kib).sum();
    Ok(kib.saturating_mul(1024))
}

/// It has no swap, and it is full.
fn node(degraded: &mut Vec<String>) -> Result<Value> {
    let total = meminfo("MemTotal:")?;
    let kinds = kinds(|kind, _| match kind {
        "kernel" | "sock" => None,
        // No kernel is without any.
        "kernel_stack" | "page_tables" | "slab" => Some(between(1, total)),
        _ => Some(between(0, total)),
    });
    Ok(json!({
        "cgroup": null,
        "limit_bytes": total,
        "usage_bytes": between(1, total),
        "peak_bytes": null,
        "swap_bytes": 0,
        "swap_limit_bytes": 0,
        "stat": kinds,
        "pressure": pressure("/proc", "pressure/memory", 0, degraded),
    }))
}

/// What is expected of each kind, by its name and the kernel's.
fn kinds(value: impl Fn(&str, &str) -> Option<Value>) -> Map<String, Value> {
    let kinds = KINDS.iter();
    kinds
        .map(|(kind, name)| ((*kind).to_owned(), json!(value(kind, name))))
        .collect()
}

/// One of a cgroup's limits, if it has it.
pub(super) fn read_limit(cgroup: &str, file: &str) -> Result<Option<u64>> {
    Ok(text(&format!("{ROOT}{cgroup}/{file}"))?.trim().parse().ok())
}

/// A field of /proc/meminfo, in bytes.
pub(super) fn meminfo(key: &str) -> Result<u64> {
    let meminfo = text("/proc/meminfo")?;
    let value = meminfo.lines().find_map(|line| line.strip_prefix(key));
    let kib = value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
    let kib = kib.with_context(|| format!("{key} in /proc/meminfo"))?;
    Ok(kib.saturating_mul(1024))
}

fn pressure(dir: &str, name: &str, at: usize, degraded: &mut Vec<String>) -> Value {
    if let Err(error) = fs::read(format!("{dir}/{name}")) {
        degraded.push(format!(
            "memory[{at}].pressure: cannot read {name}: {error}"
        ));
        return Value::Null;
    }
    let stalled = || {
        json!({
            "avg10": percent(),
            "avg60": percent(),
            "avg300": percent(),
            "total_us": between(0, u64::MAX),
        })
    };
    json!({"some": stalled(), "full": stalled()})
}

fn text(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}
