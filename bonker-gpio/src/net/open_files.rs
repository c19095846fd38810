//! Raises the limit of open files: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service::error_chain::chain;
use tracing::{info, warn};

/// Open files beside connections of gRPC: 1024 of HTTP, the servo, the history, timers, logs.
const OTHERS: u64 = 1024 + 64;

/// How to change a limit (getrlimit(2), `RLIMIT_NOFILE`).
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Leave,
    /// The soft limit becomes this.
    Raise(u64),
    /// The hard limit, which is too low.
    Short(u64),
}

/// Raises the limit for so many `connections`, or logs that it cannot.
pub(crate) fn allow(connections: usize) {
    let now = getrlimit(Resource::Nofile);
    let wanted = connections as u64 + OTHERS;
    let plan = plan(now.current, now.maximum, wanted);
    let soft = match plan {
        Plan::Leave => return,
        Plan::Raise(soft) | Plan::Short(soft) => soft,
    };
    if let Plan::Short(most) = plan {
        warn!(
            connections,
            most,
            wanted,
            "the limit of open files is lower than --max-connections needs; more connections \
             will wait: raise it (LimitNOFILE of the unit, `ulimit -Hn`), or lower the flag"
        );
    }
    let limit = Rlimit {
        current: Some(soft),
        maximum: now.maximum,
    };
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => info!(files = soft, "raised the limit of open files"),
        Err(why) => warn!(
            error = %chain(&why),
            files = soft,
            "cannot raise the limit of open files; connections beyond it will wait"
        ),
    }
}

/// `None` is no limit.
fn plan(soft: Option<u64>, hard: Option<u64>, wanted: u64) -> Plan {
    match (soft, hard) {
        (None, _) => Plan::Leave,
        (Some(soft), _) if soft >= wanted => Plan::Leave,
        (_, Some(hard)) if hard < wanted => Plan::Short(hard),
        _ => Plan::Raise(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, plan};

    #[test]
    fn a_soft_limit_is_raised_as_far_as_is_needed_and_may_be() {
        let check = |soft, hard, wanted, expect| {
            assert_eq!(
                plan(soft, hard, wanted),
                expect,
                "{soft:?} {hard:?} {wanted}"
            );
        };
        check(None, None, 9280, Plan::Leave);
        check(Some(9280), Some(9280), 9280, Plan::Leave);
        check(Some(1024), Some(524_288), 9280, Plan::Raise(9280));
        check(Some(1024), None, 9280, Plan::Raise(9280));
        check(Some(1024), Some(4096), 9280, Plan::Short(4096));
        check(Some(4096), Some(4096), 9280, Plan::Short(4096));
    }
}
