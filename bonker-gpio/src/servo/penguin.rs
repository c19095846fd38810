//! The toy as text.

/// Lines of a [`frame`].
pub(crate) const HEIGHT: usize = 6;

/// The hammer up, or down on the penguin's head.
pub(crate) fn frame(is_down: bool) -> [&'static str; HEIGHT] {
    if is_down {
        [
            r"                        ",
            r"              _____     ",
            r"   __________|#####|    ",
            r"  ()---------|#####|    ",
            r"  ||      \ ( x   x ) / ",
            r"  ||       BONK_)v(_!   ",
        ]
    } else {
        [
            r"   _____                ",
            r"  |#####|      .---.    ",
            r"  |#####|     ( o o )   ",
            r"    | |      /(  v  )\  ",
            r"    | |     / |     | \ ",
            r"    (_)        \_^_^/   ",
        ]
    }
}
