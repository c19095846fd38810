//! Whether the processes can be listed, from look to look: what stays as it is is told once. Pure.

/// A service's cgroup goes with every restart of it.
#[derive(Debug, Default)]
pub(super) struct Listing {
    lost: bool,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// They can be listed no more.
    Lost,
    /// They can be listed again.
    Back,
}

// === impl Listing ===

impl Listing {
    pub(super) fn turn(&mut self, listed: bool) -> Option<Turn> {
        let before = std::mem::replace(&mut self.lost, !listed);
        match (before, self.lost) {
            (false, true) => Some(Turn::Lost),
            (true, false) => Some(Turn::Back),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_as_it_is_is_told_once() {
        let mut listing = Listing::default();
        let looks = [true, true, false, false, false, true, true, false];
        let told = looks.map(|listed| listing.turn(listed));
        let (lost, back) = (Some(Turn::Lost), Some(Turn::Back));
        assert_eq!(told, [None, None, lost, None, None, back, None, lost]);
    }
}
