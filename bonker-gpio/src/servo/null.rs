//! No servo: for a server without a penguin, such as a hub.

use super::{Failure, Servo};
use crate::motion::Step;

pub(super) struct Null;

impl Servo for Null {
    fn drive(&mut self, _step: &Step) -> Result<(), Failure> {
        Ok(())
    }

    fn detach(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
