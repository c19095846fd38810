//! Logs at startup which programs are attached, and what is degraded.

use oom_capture::probe::{Method, PinStatus, Probe};

use service::error_chain::chain;

use crate::host::Host;

pub(super) fn log_attached(host: &Host, probe: &Probe) {
    tracing::info!(
        node = host.node,
        probe = ?probe.method,
        out_of_memory = probe.out_of_memory.as_ref().copied().unwrap_or("inferred"),
        "attached"
    );
}

pub(super) fn log_degraded(probe: &Probe, wanted: Method, environments: bool) {
    if environments && probe.method == Method::Classic {
        tracing::warn!("--env: the classic tracepoint reads no environment");
    }
    if let Some(pinned) = &probe.pinned {
        log_pinned(pinned);
    }
    if let Some(error) = &probe.btf_error {
        tracing::warn!(
            error = %chain(error),
            "BTF tracepoints are not in use: victims are read from /proc, which loses those that end first"
        );
    } else if wanted == Method::Classic {
        tracing::warn!(
            "--probe classic: victims are read from /proc, which loses those that end first"
        );
    }
    for error in &probe.refused {
        tracing::warn!(
            error = %chain(error),
            "a program is not in use: its fields are missing of each kill"
        );
    }
    if let Some(error) = &probe.format_error
        && probe.method == Method::Classic
    {
        tracing::warn!(
            error = %chain(error),
            "the classic tracepoint's pid is read where most kernels have it"
        );
    }
    if let Err(errors) = &probe.out_of_memory
        && probe.method == Method::Btf
        && wanted != Method::Tracepoints
    {
        let reasons = errors.iter().map(|error| chain(error).to_string());
        let reasons: Vec<String> = reasons.collect();
        tracing::warn!(
            reasons = reasons.join("; "),
            "out_of_memory cannot be probed here: the limit is found by memory.events.local on cgroup v2, else inferred from the cgroups' usage"
        );
    }
    for member in &probe.missing {
        tracing::warn!(
            member,
            "this kernel's BTF lacks a member: what is read there is degraded"
        );
    }
}

fn log_pinned(pinned: &PinStatus) {
    if pinned.discarded > 0 {
        tracing::warn!(
            rings = pinned.discarded,
            "what an agent of another version has left was removed unread: kills may be missing"
        );
    }
    if let Some(error) = &pinned.refused {
        tracing::warn!(
            error = %chain(error),
            "nothing is pinned: kills while no agent runs are missed"
        );
        return;
    }
    if !pinned.lasting {
        tracing::warn!(
            "nothing is pinned: the classic tracepoint's records cannot wait for an agent"
        );
        return;
    }
    for program in &pinned.unpinned {
        tracing::warn!(
            program,
            "this kernel keeps a program only while the agent runs: its fields are missing of kills that wait"
        );
    }
    tracing::info!(
        took_over = pinned.took_over,
        "pinned: the programs record on when the agent ends; `oom-agent unpin` removes them"
    );
}
