//! The rules that client and servers share, as pure types: no I/O, no clock, no threads.
//!
//! * [`status`]: the status line, written and parsed (B1, C1);
//! * [`Schedule`]: when ticks are due, given the time (B4);
//! * [`Outgoing`]: pending output of a connection, echo and status in the right order (E1, B2, B3, E3);
//! * [`work`]: what a message costs (W1); [`handshake`]: the beginning of a connection (H1 to H5); [`Service`]: which of
//!   these is on;
//! * [`Counters`]: what a server reports on exit;
//! * [`limits`]: the numbers of the clauses.
//!
//! The specification itself follows.
//!
#![doc = include_str!("../SPEC.md")]

pub mod handshake;
pub mod limits;
pub mod status;
pub mod work;

mod counters;
mod outgoing;
mod schedule;
mod service;

pub use counters::Counters;
pub use outgoing::Outgoing;
pub use schedule::{Schedule, Tick};
pub use service::{Feature, Service};
