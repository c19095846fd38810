//! A simulated servo: drawn on a terminal, logged elsewhere.

use std::io::{self, Write};

use tracing::info;

use super::{Failure, Servo, penguin};
use crate::motion::{Limits, Step};
use crate::text::redraw;

pub(super) struct Sim {
    screen: Option<Box<dyn Write + Send>>,
    /// Lines of the frame above the cursor that the next one replaces.
    drawn: usize,
    limits: Limits,
}

// === impl Sim ===

impl Sim {
    /// Draws on `screen` with one write for each frame.
    pub(super) fn new(screen: Option<Box<dyn Write + Send>>, limits: Limits) -> Self {
        Self {
            screen,
            drawn: 0,
            limits,
        }
    }

    fn draw(&mut self, is_down: bool) -> io::Result<()> {
        let Some(screen) = &mut self.screen else {
            return Ok(());
        };
        let picture = redraw(self.drawn, &penguin::frame(is_down));
        screen.write_all(picture.as_bytes())?;
        self.drawn = penguin::HEIGHT;
        screen.flush()
    }
}

impl Servo for Sim {
    fn drive(&mut self, step: &Step) -> Result<(), Failure> {
        if self.screen.is_none() {
            let hold_ms = step.hold.as_millis();
            info!(pulse_us = step.pulse_us, hold_ms, "swing step");
            return Ok(());
        }
        let way_to = |place_us| step.pulse_us.abs_diff(place_us);
        let is_down = way_to(self.limits.strike_us()) < way_to(self.limits.rest_us());
        Ok(self.draw(is_down)?)
    }

    fn detach(&mut self) -> Result<(), Failure> {
        self.drawn = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::{Servo, Sim};
    use crate::motion::{Calibration, Limits, Step};
    use crate::servo::penguin::{HEIGHT, frame};

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn limits() -> Limits {
        Limits::try_from(Calibration::default()).unwrap()
    }

    fn step(pulse_us: u16) -> Step {
        Step {
            pulse_us,
            hold: Duration::ZERO,
        }
    }

    #[test]
    fn a_swing_is_drawn_in_place() {
        let screen = Screen::default();
        let mut sim = Sim::new(Some(Box::new(screen.clone())), limits());
        for pulse_us in [2000, 1000] {
            sim.drive(&step(pulse_us)).unwrap();
        }
        sim.detach().unwrap();
        let drawn = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        let up = format!("\x1b[{HEIGHT}A");
        let frames: Vec<&str> = drawn.split(&up).collect();
        assert_eq!(frames.len(), 2, "{drawn}");
        for (shown, is_down) in frames.iter().zip([true, false]) {
            for line in frame(is_down) {
                assert!(shown.contains(line), "{line:?} in {shown}");
            }
        }
        // The next swing starts below, whatever was logged since.
        sim.drive(&step(1000)).unwrap();
        let drawn = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        assert_eq!(drawn.matches(&up).count(), 1);
    }

    #[test]
    fn a_screen_that_is_gone_is_an_error() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sim = Sim::new(Some(Box::new(Gone)), limits());
        assert!(sim.drive(&step(1000)).is_err());
    }
}
