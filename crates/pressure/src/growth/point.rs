/// How much memory there was. In order of time wherever there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    /// ms after any moment that all of them share.
    pub(crate) at_ms: u64,
    pub(crate) bytes: u64,
}
