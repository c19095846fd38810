//! How a gesture looks over time. Pure.

use std::time::Duration;

use crate::motion::Gesture;

const DOWN: Duration = Duration::from_millis(300);
const UP: Duration = Duration::from_millis(250);

/// Whether the hammer is down `since` the gesture began, and for how long it stays so;
/// `None` once the gesture is over.
pub(super) fn moment(gesture: Gesture, since: Duration) -> Option<(bool, Duration)> {
    let mut end = Duration::ZERO;
    for _ in 0..gesture.blows() {
        for (down, span) in [(true, DOWN), (false, UP)] {
            end += span;
            if since < end {
                return Some((down, end.saturating_sub(since)));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use strum::VariantArray as _;

    use super::{DOWN, UP, moment};
    use crate::motion::Gesture;

    #[test]
    fn the_hammer_comes_down_as_often_as_the_servo_strikes() {
        for &gesture in Gesture::VARIANTS {
            let (mut since, mut downs) = (Duration::ZERO, 0);
            while let Some((down, left)) = moment(gesture, since) {
                assert!(left > Duration::ZERO);
                downs += u32::from(down);
                since += left;
            }
            assert_eq!(usize::try_from(downs), Ok(gesture.blows()), "{gesture:?}");
            assert_eq!(since, (DOWN + UP) * downs, "{gesture:?}");
        }
    }
}
