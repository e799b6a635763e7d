//! Measures any echo-and-status server: latency from the intended send time, idle CPU and wake-ups, CPU per message,
//! throughput, broadcast quality.
//!
//! # Layout
//!
//! A module imports only modules below it in this table; files of one module may import each other.
//!
//! | module | content |
//! |---|---|
//! | [`command`] | the sub-commands, one file or folder each |
//! | [`selftest`] | verifies the generator against known answers |
//! | [`cli`] | the command line: sub-commands, options and their defaults |
//! | [`verify`] | the conformance suite |
//! | [`report`] | a session as text, Markdown, HTML and CSV |
//! | [`judge`] | which claims the rows of a session support; opens no socket |
//! | [`measure`] | one trial: starts the server, loads and observes it, assesses the trial |
//! | [`record`] | the files of a session |
//! | `engine` | the client: connections, pacing and the check of every echo |
//! | [`plan`] | a trial's parameters, with their units |
//! | `hosts` | generators on other hosts: how they are gathered and reached, and their clocks |
//! | [`observe`] | CPU time, wake-ups and memory of processes, and the host |
//! | [`stats`] | estimates, intervals and tests |
//! | [`exit`], [`error`] | exit codes, and the errors that have one of their own |
//! | [`interrupt`], [`terminal`], [`text`] | signals, output to a terminal, and untrusted text |
//!
//! Nothing below [`measure`] knows a server's name, and only [`measure::target`] starts processes.

pub mod cli;
pub mod command;
pub(crate) mod engine;
pub mod error;
pub mod exit;
pub(crate) mod hosts;
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
