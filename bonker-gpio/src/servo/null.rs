//! A servo that is not there: for a server that is only to be watched.

use super::{Servo, ServoError};
use crate::motion::Step;

pub(super) struct Null;

impl Servo for Null {
    fn drive(&mut self, _step: &Step) -> Result<(), ServoError> {
        Ok(())
    }

    fn detach(&mut self) -> Result<(), ServoError> {
        Ok(())
    }
}
