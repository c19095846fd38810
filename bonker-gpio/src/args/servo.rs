//! What is moved, and within which limits.

use std::time::Duration;

use clap::Args;

use super::duration::duration;
use crate::servo::Choice;
use crate::swing::MAX_HOLD;

#[derive(Debug, Args)]
pub(crate) struct ServoArgs {
    /// What moves the penguin
    #[arg(long, env = "BONKER_BACKEND", default_value = "auto")]
    pub(crate) backend: Choice,
    /// The servo's pin on a Raspberry Pi, by its BCM number
    #[arg(long, env = "BONKER_GPIO_PIN", default_value_t = 18, value_name = "PIN",
          value_parser = clap::value_parser!(u8).range(0..=27))]
    pub(crate) gpio_pin: u8,
    /// How long a strike lasts, the way to the penguin included; 500ms at most
    #[arg(long, env = "BONKER_HOLD", default_value = "250ms", value_name = "TIME", value_parser = hold)]
    pub(crate) hold: Duration,
}

fn hold(text: &str) -> Result<Duration, String> {
    let hold = duration(text)?;
    if hold.is_zero() || hold > MAX_HOLD {
        return Err(format!("a strike lasts 1ms to {}ms", MAX_HOLD.as_millis()));
    }
    Ok(hold)
}
