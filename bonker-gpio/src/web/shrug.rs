//! What the original toy said to whoever asked for `/`.

/// Without a line break, as it was.
pub(super) const SHRUG: &str = r"¯\_(ツ)_/¯";
