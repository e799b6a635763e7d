//! What a session leaves behind: its files, their columns, and nothing that judges.
//!
//! A session is a folder that is only ever added to while it runs and never edited afterwards. Every trial is written
//! as soon as it ends, to all of the files or to none, so a crash loses at most the trial in flight: what it leaves of
//! that one is passed over by readers, and cut off when the session is gone on with.

mod columns;
mod environment;
mod files;
mod histograms;
mod kinds;
mod origin;
mod place;
mod recover;
mod rows;
mod session;

pub use columns::{Entry, Row, Value, row};
pub use environment::{Build, build};
pub use files::read;
pub use place::{Place, host_name, is_running};
pub use rows::{Figures, Trials, read_rows};
pub use session::{Session, State, is_own, read_about};
