//! Flags of the servo: backend, pin, pulses and gestures.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration::{duration, format_duration};
use crate::motion::{
    Calibration, Choreography, Limits, LimitsError, MAX_HOLD, Percent, Style, Tempo,
};
use crate::servo::{Choice, Hardware, PwmSelection};

/// No servo follows a shorter one.
const MIN_HOLD: Duration = Duration::from_millis(1);

#[derive(Debug, Args)]
#[command(next_help_heading = "Servo")]
pub(crate) struct ServoArgs {
    /// Backend that drives the servo
    #[arg(long, env = "BONKER_BACKEND", default_value = "auto")]
    pub(crate) backend: Choice,
    /// Servo pin of a Raspberry Pi, by its BCM number
    #[arg(long, env = "BONKER_GPIO_PIN", default_value_t = 18, value_name = "PIN",
          value_parser = clap::value_parser!(u8).range(0..=27))]
    pub(crate) gpio_pin: u8,
    /// Number N of the pwmchipN for sysfs-pwm; auto finds the chip that has the pin
    #[arg(long, env = "BONKER_PWM_CHIP", default_value = "auto", value_name = "auto|N",
          value_parser = number)]
    pwm_chip: AutoNumber,
    /// Channel of that chip; auto finds it by the pin
    #[arg(long, env = "BONKER_PWM_CHANNEL", default_value = "auto", value_name = "auto|N",
          value_parser = number)]
    pwm_channel: AutoNumber,
    /// Shortest pulse the linkage can take, in µs
    #[arg(long, env = "BONKER_MIN_US", default_value_t = Calibration::default().min_us,
          value_name = "US")]
    min_us: u16,
    /// Longest pulse the linkage can take, in µs
    #[arg(long, env = "BONKER_MAX_US", default_value_t = Calibration::default().max_us,
          value_name = "US")]
    max_us: u16,
    /// Pulse at which the hammer is up, in µs
    #[arg(long, env = "BONKER_REST_US", default_value_t = Calibration::default().rest_us,
          value_name = "US")]
    rest_us: u16,
    /// Pulse at which the hammer meets the penguin, in µs
    #[arg(long, env = "BONKER_STRIKE_US", default_value_t = Calibration::default().strike_us,
          value_name = "US")]
    strike_us: u16,
    /// Time of a strike, including the way to the penguin; 500ms at most
    #[arg(long, env = "BONKER_HOLD", default_value = format_duration(Tempo::default().strike),
          value_name = "TIME", value_parser = hold)]
    hold: Duration,
    /// Time of the way back, after which the pulses stop; 500ms at most
    #[arg(long, env = "BONKER_SETTLE", default_value = format_duration(Tempo::default().rest),
          value_name = "TIME", value_parser = hold)]
    settle: Duration,
    /// Gesture of a bonk
    #[arg(long, env = "BONKER_GESTURE", value_enum, default_value_t)]
    gesture: Style,
    /// Part of the way to the penguin that a nudge goes
    #[arg(long, env = "BONKER_NUDGE", default_value_t = Percent::NUDGE, value_name = "PERCENT")]
    nudge: Percent,
    /// Part of any minute in which the servo may be driven; further bonks wait
    #[arg(long, env = "BONKER_DUTY", default_value_t = Percent::DUTY, value_name = "PERCENT")]
    duty: Percent,
}

/// `None` for `auto`.
#[derive(Clone, Copy, Debug)]
struct AutoNumber(Option<u32>);

// === impl ServoArgs ===

impl ServoArgs {
    pub(crate) fn choreography(&self) -> Result<Choreography, LimitsError> {
        let calibration = self.calibration();
        let limits = Limits::try_from(calibration)?;
        // Safe, but nothing would move; `calibrate` may begin there.
        if calibration.rest_us == calibration.strike_us {
            let pulse_us = calibration.rest_us;
            return Err(LimitsError::Same { pulse_us });
        }
        Ok(Choreography {
            limits,
            tempo: Tempo {
                strike: self.hold,
                rest: self.settle,
            },
            nudge: self.nudge,
            style: self.gesture,
            duty: self.duty,
        })
    }

    pub(crate) fn calibration(&self) -> Calibration {
        Calibration {
            min_us: self.min_us,
            max_us: self.max_us,
            rest_us: self.rest_us,
            strike_us: self.strike_us,
        }
    }

    pub(crate) fn hardware(&self) -> Hardware {
        Hardware {
            pin: self.gpio_pin,
            pwm: PwmSelection {
                chip: self.pwm_chip.0,
                channel: self.pwm_channel.0,
            },
            sysfs_pwm: PathBuf::from("/sys/class/pwm"),
        }
    }
}

fn hold(text: &str) -> Result<Duration, String> {
    let hold = duration(text)?;
    if hold < MIN_HOLD || hold > MAX_HOLD {
        return Err(format!("use 1ms to {}ms", MAX_HOLD.as_millis()));
    }
    Ok(hold)
}

fn number(text: &str) -> Result<AutoNumber, String> {
    if text == "auto" {
        return Ok(AutoNumber(None));
    }
    let number = text.parse().map(Some).map(AutoNumber);
    number.map_err(|_| "use auto, or the number, as in 0".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Cli, Command};
    use crate::motion::{Calibration, Choreography, Limits};

    #[test]
    fn the_defaults_are_those_of_the_motion() {
        let cli = Cli::try_parse_from(["bonker-gpio", "serve"]).unwrap();
        let Command::Serve(serve) = cli.command else {
            panic!("not serve");
        };
        let limits = Limits::try_from(Calibration::default()).unwrap();
        let own = Choreography::within(limits);
        assert_eq!(serve.servo.choreography(), Ok(own));
    }

    fn refusal(flags: &[&str]) -> Option<String> {
        let line = ["bonker-gpio", "serve"];
        let cli = match Cli::try_parse_from(line.iter().chain(flags)) {
            Ok(cli) => cli,
            Err(why) => return Some(why.to_string()),
        };
        let Command::Serve(serve) = cli.command else {
            panic!("not serve");
        };
        let plan = serve.servo.choreography();
        plan.err().map(|why| why.to_string())
    }

    #[test]
    fn settings_that_move_nothing_are_refused() {
        let check = |flags: &[&str], part: &str| {
            let why = refusal(flags).unwrap_or_default();
            assert!(why.contains(part), "{flags:?}: {why}");
        };
        assert_eq!(refusal(&["--hold=1ms", "--settle=500ms"]), None);
        assert_eq!(refusal(&["--rest-us=2000", "--strike-us=1000"]), None);
        for hold in ["--hold=1ns", "--hold=0s", "--settle=999us", "--hold=501ms"] {
            check(&[hold], "use 1ms to 500ms");
        }
        check(&["--strike-us=1000"], "rest and strike are the same pulse");
        check(&["--rest-us=900"], "outside 1000 to 2000");
    }
}
