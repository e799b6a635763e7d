//! The sub-commands, one file or folder each.

pub mod capacity;
pub mod compare;
pub mod doctor;
pub mod list;
pub mod manual;
pub mod report;
pub mod run;
pub mod verify;

use crate::{
    measure::validity,
    observe::fitness,
    record::{Configuration, Preamble},
};

/// The facts that stand at the beginning of a session's record.
fn preamble(configuration: Configuration) -> Preamble {
    Preamble { configuration, gates: validity::gates(), limits: validity::limits(), doctor: Some(fitness::checks) }
}
