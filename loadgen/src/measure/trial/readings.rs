//! Readings of the server at the moments of a window, where the window tells them.

use crate::{
    engine::Moment,
    observe::{Process, Usage},
};

/// What was read of the server's process.
#[derive(Debug)]
pub(super) struct Readings<'a> {
    process: Option<&'a Process>,
    pub(super) start: Option<Usage>,
    pub(super) middle: Option<Usage>,
    pub(super) end: Option<Usage>,
}

impl<'a> Readings<'a> {
    pub(super) fn new(process: Option<&'a Process>) -> Self {
        Self { process, start: None, middle: None, end: None }
    }

    /// Reads the server now; nothing if its process is not known or gone.
    pub(super) fn take(&mut self, moment: Moment) {
        let usage = self.process.and_then(|process| process.usage().ok());
        match moment {
            Moment::Start => self.start = usage,
            Moment::Middle => self.middle = usage,
            Moment::End => self.end = usage,
        }
    }
}
