//! No servo: for a server without a penguin, such as a hub.

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
