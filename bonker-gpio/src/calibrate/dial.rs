//! Applies keys to a calibration. Pure.

use crate::motion::{Calibration, LONGEST_US, SHORTEST_US};

/// The smallest step that a hobby servo follows, in µs.
const SMALL: u16 = 10;
const BIG: u16 = 50;

/// A calibration under way: always one that holds.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    at: Calibration,
    field: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Longer { big: bool },
    Shorter { big: bool },
    Next,
    Previous,
    Save,
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send pulses of this width, in µs.
    Move(u16),
    Save(Calibration),
    Leave,
}

/// In the order they are walked: the range first, since the others have to be in it.
const FIELDS: [(&str, &str); 4] = [
    ("min", "the shortest pulse that the linkage can take"),
    ("max", "the longest one"),
    ("rest", "the hammer is up"),
    ("strike", "the hammer meets the penguin"),
];

// === impl Dial ===

impl Dial {
    /// Begins at `at`, or at the nearest that holds.
    pub(super) fn new(at: Calibration) -> Self {
        let min_us = at.min_us.clamp(SHORTEST_US, LONGEST_US - SMALL);
        let max_us = at.max_us.clamp(min_us + SMALL, LONGEST_US);
        let at = Calibration {
            min_us,
            max_us,
            ..at
        };
        let mut dial = Self { at, field: 0 };
        dial.set(min_us);
        dial
    }

    pub(super) fn calibration(&self) -> Calibration {
        self.at
    }

    pub(super) fn press(&mut self, key: Key) -> Action {
        let stride = |big| if big { BIG } else { SMALL };
        let pulse_us = self.pulse_us();
        match key {
            Key::Longer { big } => self.set(pulse_us.saturating_add(stride(big))),
            Key::Shorter { big } => self.set(pulse_us.saturating_sub(stride(big))),
            Key::Next => self.field = (self.field + 1) % FIELDS.len(),
            Key::Previous => self.field = (self.field + FIELDS.len() - 1) % FIELDS.len(),
            Key::Save => return Action::Save(self.at),
            Key::Leave => return Action::Leave,
        }
        Action::Move(self.pulse_us())
    }

    /// The picture; `on` while pulses are sent.
    pub(super) fn lines(&self, on: bool) -> Vec<String> {
        let pulses = self.all();
        let mut lines: Vec<String> = FIELDS
            .iter()
            .zip(pulses)
            .enumerate()
            .map(|(number, ((name, what), pulse_us))| {
                let here = if number == self.field { '>' } else { ' ' };
                format!("{here} {name:<6} {pulse_us:>4} µs  {what}")
            })
            .collect();
        let state = if on { "held" } else { "detached" };
        lines.push(format!("  servo: {state}"));
        lines.push(format!(
            "arrows or +/-: {SMALL} µs, with shift or page up/down: {BIG} µs; tab: next; \
             enter: save; q: leave"
        ));
        lines
    }

    /// In the order of [`FIELDS`].
    fn all(&self) -> [u16; 4] {
        let at = self.at;
        [at.min_us, at.max_us, at.rest_us, at.strike_us]
    }

    fn pulse_us(&self) -> u16 {
        self.all().get(self.field).copied().unwrap_or_default()
    }

    /// The range takes rest and strike along.
    fn set(&mut self, pulse_us: u16) {
        let at = &mut self.at;
        match self.field {
            0 => at.min_us = pulse_us.clamp(SHORTEST_US, at.max_us - SMALL),
            1 => at.max_us = pulse_us.clamp(at.min_us + SMALL, LONGEST_US),
            2 => at.rest_us = pulse_us,
            _ => at.strike_us = pulse_us,
        }
        at.rest_us = at.rest_us.clamp(at.min_us, at.max_us);
        at.strike_us = at.strike_us.clamp(at.min_us, at.max_us);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Action, Dial, Key};
    use crate::motion::{Calibration, LONGEST_US, Limits, SHORTEST_US};

    const UP: Key = Key::Longer { big: false };
    const DOWN: Key = Key::Shorter { big: true };

    #[test]
    fn keys_walk_the_four_pulses() {
        let mut dial = Dial::new(Calibration::default());
        let mut press = |key| dial.press(key);
        assert_eq!(press(UP), Action::Move(1010));
        assert_eq!(press(DOWN), Action::Move(960));
        assert_eq!(press(Key::Next), Action::Move(2000));
        assert_eq!(press(DOWN), Action::Move(1950));
        assert_eq!(
            press(Key::Next),
            Action::Move(1010),
            "the range took rest along"
        );
        assert_eq!(press(Key::Next), Action::Move(1950));
        assert_eq!(press(DOWN), Action::Move(1900));
        assert_eq!(press(Key::Next), Action::Move(960), "round again");
        assert_eq!(press(Key::Previous), Action::Move(1900));
        assert_eq!(press(Key::Leave), Action::Leave);
        let made = Calibration {
            min_us: 960,
            max_us: 1950,
            rest_us: 1010,
            strike_us: 1900,
        };
        assert_eq!(press(Key::Save), Action::Save(made));
    }

    #[test]
    fn the_picture_marks_the_field_and_its_state() {
        let mut dial = Dial::new(Calibration::default());
        dial.press(Key::Next);
        dial.press(UP);
        let lines = dial.lines(true);
        assert!(lines[0].starts_with("  min    1000 µs"), "{lines:?}");
        assert!(lines[1].starts_with("> max    2010 µs"), "{lines:?}");
        assert!(lines[4].contains("held"), "{lines:?}");
        assert!(dial.lines(false)[4].contains("detached"));
    }

    fn keys() -> impl Strategy<Value = Key> {
        let turn = |longer, big| {
            if longer {
                Key::Longer { big }
            } else {
                Key::Shorter { big }
            }
        };
        prop_oneof![
            8 => (any::<bool>(), any::<bool>()).prop_map(move |(longer, big)| turn(longer, big)),
            1 => Just(Key::Next),
            1 => Just(Key::Previous),
        ]
    }

    proptest! {
        /// Invariant: wherever it begins and whatever is pressed, it can be saved, and no
        /// pulse leaves what hobby servos are made for.
        #[test]
        fn any_keys_make_a_calibration_that_holds(
            pulses in prop::array::uniform4(any::<u16>()),
            keys in prop::collection::vec(keys(), 0..300),
        ) {
            let [min_us, max_us, rest_us, strike_us] = pulses;
            let mut dial = Dial::new(Calibration { min_us, max_us, rest_us, strike_us });
            prop_assert!(Limits::try_from(dial.calibration()).is_ok());
            for key in keys {
                let act = dial.press(key);
                let Action::Move(pulse_us) = act else { panic!("{act:?}") };
                prop_assert!((SHORTEST_US..=LONGEST_US).contains(&pulse_us));
                prop_assert!(Limits::try_from(dial.calibration()).is_ok());
            }
        }
    }
}
