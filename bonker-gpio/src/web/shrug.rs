//! What the original toy said to whoever asked for `/`.

/// Without a line break, as it was.
pub(super) async fn shrug() -> &'static str {
    r"¯\_(ツ)_/¯"
}
