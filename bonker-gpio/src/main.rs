//! `bonker-gpio`: see the library for everything but this door.

use std::process::ExitCode;

fn main() -> ExitCode {
    bonker_gpio::main()
}
