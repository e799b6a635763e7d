//! The sub-commands, one file or folder each.

pub mod capacity;
pub mod compare;
pub mod doctor;
pub mod list;
pub mod manual;
pub mod report;
pub mod run;
pub mod verify;
