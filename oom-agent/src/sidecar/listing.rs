//! Whether the processes can be listed, from sweep to sweep: each change is logged once. Pure.

/// A service's cgroup goes with every restart of it.
#[derive(Debug, Default)]
pub(super) struct Listing {
    lost: bool,
}

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// They cannot be listed any more.
    Lost,
    /// They can be listed again.
    Restored,
}

// === impl Listing ===

impl Listing {
    pub(super) fn update(&mut self, is_listed: bool) -> Option<Change> {
        let before = std::mem::replace(&mut self.lost, !is_listed);
        match (before, self.lost) {
            (false, true) => Some(Change::Lost),
            (true, false) => Some(Change::Restored),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_reported_once() {
        let mut listing = Listing::default();
        let listings = [true, true, false, false, false, true, true, false];
        let changes = listings.map(|is_listed| listing.update(is_listed));
        let (lost, back) = (Some(Change::Lost), Some(Change::Restored));
        assert_eq!(changes, [None, None, lost, None, None, back, None, lost]);
    }
}
