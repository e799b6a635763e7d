//! The files of a session: their contents, how they are written and read. Nothing here judges.
//!
//! A session is a folder that is only ever added to while it runs and never edited afterwards. Every trial is written
//! as soon as it ends, to all of the files or to none, so a crash loses at most the trial in flight: readers pass over its
//! remains, and a resumed session cuts them off.
//!
//! # Layout
//!
//! | file | contents |
//! |---|---|
//! | format | file names and schema version |
//! | row, column, words | a row of trials.csv, the types of its columns and their vocabulary |
//! | metadata, gate, build, origin | session.json: configuration, build, and the identity of user and host |
//! | hosts | hosts.csv and hosts/: what each generator on another host measured |
//! | histograms | the interval log, quantiles.csv and windows.csv |
//! | session, files, folder | an open session, its growing files and its locked folder |
//! | reader, recover | reading trials.csv, and cutting off the remains of a crash |

mod build;
mod column;
mod files;
mod folder;
mod format;
mod gate;
mod histograms;
mod hosts;
mod metadata;
mod origin;
mod reader;
mod recover;
mod row;
mod session;
mod words;

pub use self::{
    build::{Build, build, file_checksum, own_checksum},
    column::{BriefLatency, Latency, Misbehaving, Shape},
    files::read as read_file,
    folder::{SessionFolder, host_name, is_running},
    format::{METADATA, SCHEMA_VERSION, TRIALS},
    gate::Gate,
    histograms::{Distribution, Second, Series},
    hosts::{HostRecord, HostRecording, HostRow, check_hosts, read_hosts},
    metadata::{CellRecord, Configuration, DroppedCell, Metadata, PilotEntry, PlanRecord, Primary, recorded_rate},
    origin::{is_own, without_home},
    reader::{Trials, read_rows},
    row::Row,
    session::{Preamble, Recording, Session},
    words::{EndedBy, Mode, Outcome, Reason, ReasonKind, State, TargetKind, Validity},
};
