//! Measures echo-and-status servers of any make: latency from the intended send time, idle CPU and wake-ups, CPU per
//! message, throughput, broadcast quality.
//!
//! # Layout
//!
//! A room imports only rooms below it; files of one room import each other.
//!
//! | room | what it does |
//! |---|---|
//! | [`command`] | the sub-commands, one file or folder each |
//! | [`selftest`] | proves the instrument on known answers |
//! | [`cli`] | the command line: sub-commands, options and their defaults |
//! | [`verify`] | the conformance suite |
//! | [`report`] | what a session says, as text, Markdown, HTML and CSV |
//! | [`judge`] | what the rows of a session allow to claim; opens no socket |
//! | [`measure`] | one trial: starts the server, loads and watches it, assesses the trial itself |
//! | [`record`] | the files of a session |
//! | `engine` | the client: connections, pacing and the check of every echo |
//! | [`plan`] | what is to be measured, with its units |
//! | [`observe`] | CPU time, wake-ups and memory of processes, and the host |
//! | [`stats`] | estimates, intervals and tests |
//! | [`exit`], [`error`] | exit codes, and the errors that have one of their own |
//! | [`interrupt`], [`terminal`], [`text`] | signals, what is printed, and text from elsewhere |
//!
//! Nothing below [`measure`] knows a server's name, and only [`measure::target`] starts processes.

pub mod cli;
pub mod command;
pub(crate) mod engine;
pub mod error;
pub mod exit;
pub mod interrupt;
pub mod judge;
pub mod measure;
pub mod observe;
pub mod plan;
pub mod record;
pub mod report;
pub mod selftest;
pub mod stats;
pub mod terminal;
pub mod text;
pub mod verify;
