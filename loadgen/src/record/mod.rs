//! What a session leaves behind: its files, their columns, and nothing that judges.
//!
//! A session is a folder that is only ever added to while it runs and never edited afterwards. Every trial is written
//! and flushed as soon as it ends, so a crash loses at most the trial in flight.

mod columns;
mod environment;
mod histograms;
mod rows;
mod session;

pub use columns::{Entry, Row, Value, row};
pub use environment::{Build, build};
pub use rows::{Figures, read_rows};
pub use session::{Session, State};
