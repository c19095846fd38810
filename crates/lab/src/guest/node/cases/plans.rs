//! What the cases have in common.

use crate::guest::node::event::ExpectedEvent;
use crate::guest::pods::MIB;

/// Of most containers.
pub(super) const LIMIT: u64 = 48 * MIB;

/// More than there is.
pub(super) const EATS: &str = "--mib 4096";

pub(super) const IDLES: &str = "exec sleep 1000";

/// Of container `main`, whose first process is killed at its own limit.
pub(super) const DIED: ExpectedEvent<'_> = ExpectedEvent {
    on: "",
    field_path: Some("spec.containers{main}"),
    reason: "OOMKilled",
    first: &["main", "hog", "48 MiB"],
    contains: &[],
    next: "raise main's resources.limits.memory above 48 MiB",
    volumes: false,
    chars: 400,
};

/// A process that is killed while the container's first one lives on.
pub(super) const CHILD_DIED: ExpectedEvent<'_> = ExpectedEvent {
    reason: "ProcessOOMKilled",
    ..DIED
};
