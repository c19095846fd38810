//! What is said of the programs at the start: what they tell, and what they cannot.

use oom_capture::probe::{Method, PinStatus, Probe};

use crate::host::Host;

pub(super) fn say_attached(host: &Host, probe: &Probe) {
    tracing::info!(
        node = host.node,
        probe = ?probe.method,
        out_of_memory = probe.out_of_memory.as_ref().copied().unwrap_or("inferred"),
        "attached"
    );
}

pub(super) fn say_degraded(probe: &Probe, wanted: Method, environments: bool) {
    if environments && probe.method == Method::Classic {
        tracing::warn!("--env: the classic tracepoint reads no environment");
    }
    if let Some(pinned) = &probe.pinned {
        say_pinned(pinned);
    }
    if let Some(error) = &probe.btf_error {
        tracing::warn!(
            error = %service::error_chain::chain(error),
            "BTF tracepoints are not in use: victims are read from /proc, which loses those that end first"
        );
    } else if wanted == Method::Classic {
        tracing::warn!(
            "--probe classic: victims are read from /proc, which loses those that end first"
        );
    }
    for error in &probe.refused {
        tracing::warn!(
            error = %service::error_chain::chain(error),
            "less is told of each kill: a program is not in use"
        );
    }
    if let Some(error) = &probe.format_error
        && probe.method == Method::Classic
    {
        tracing::warn!(
            error = %service::error_chain::chain(error),
            "the classic tracepoint's pid is read where most kernels have it"
        );
    }
    if let Err(errors) = &probe.out_of_memory
        && probe.method == Method::Btf
        && wanted != Method::Tracepoints
    {
        let reasons: Vec<String> = errors
            .iter()
            .map(|error| service::error_chain::chain(error).to_string())
            .collect();
        tracing::warn!(
            reasons = reasons.join("; "),
            "out_of_memory cannot be probed here: whose limit was hit is told by memory.events.local on cgroup v2, else inferred from the cgroups' usage"
        );
    }
    for member in &probe.missing {
        tracing::warn!(
            member,
            "this kernel's BTF lacks a member: what is read there is degraded"
        );
    }
}

fn say_pinned(pinned: &PinStatus) {
    if pinned.discarded > 0 {
        tracing::warn!(
            rings = pinned.discarded,
            "what an agent of another version has left was removed unread: kills may be missing"
        );
    }
    if let Some(error) = &pinned.refused {
        tracing::warn!(
            error = %service::error_chain::chain(error),
            "nothing is pinned: what is killed while no agent runs is missed"
        );
        return;
    }
    if !pinned.lasting {
        tracing::warn!(
            "nothing is pinned: what the classic tracepoint records cannot wait for an agent"
        );
        return;
    }
    for program in &pinned.unpinned {
        tracing::warn!(
            program,
            "this kernel keeps a program only while the agent runs: what it tells is missing of kills that wait"
        );
    }
    tracing::info!(
        took_over = pinned.took_over,
        "pinned: the programs record on when the agent ends; `oom-agent unpin` removes them"
    );
}
