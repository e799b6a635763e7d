//! The files of a session: what they hold, how they are written and read. Nothing here judges.
//!
//! A session is a folder that is only ever added to while it runs and never edited afterwards. Every trial is written
//! as soon as it ends, to all of the files or to none, so a crash loses at most the trial in flight: what it leaves of
//! that one is passed over by readers, and cut off when the session is resumed.

mod build;
mod cell;
mod files;
mod histograms;
mod metadata;
mod origin;
mod place;
mod reader;
mod recover;
mod row;
mod session;
mod words;

pub use self::{
    build::{Build, build},
    cell::{BriefLatency, Latency, Misbehaving},
    files::read as read_file,
    histograms::{Distribution, Second, Series},
    metadata::{
        CellRecord, Configuration, DroppedCell, Gate, Metadata, PilotEntry, PlanRecord, Primary, recorded_rate,
    },
    origin::{is_own, without_home},
    place::{Place, host_name, is_running},
    reader::{Trials, read_rows},
    row::{Row, SCHEMA_VERSION},
    session::{Preamble, Recording, Session},
    words::{BoundBy, EndedBy, Mode, Outcome, Reason, ReasonKind, State, TargetKind, Validity},
};
