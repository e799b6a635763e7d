//! Measures echo-and-status servers of any make: latency from the intended send time, idle CPU and wake-ups, CPU per
//! message, throughput, broadcast quality.
//!
//! Measure, record, judge: [`engine`], [`observe`] and [`trial`] measure; [`record`] writes it down; [`validity`],
//! [`stats`], [`verdicts`], [`scorecard`] and [`report`] judge and open no socket. Nothing below the engine knows a server's name, and only
//! [`target`] starts processes.

pub mod baseline;
pub mod capacity;
pub mod cli;
pub mod compare;
pub mod counted;
pub mod diagnosis;
pub mod doctor;
pub mod engine;
pub mod failure;
mod footprint;
pub mod interrupt;
pub mod observe;
pub mod plan;
pub mod prepare;
pub mod progress;
pub mod record;
pub mod reference;
pub mod report;
pub mod run;
pub mod scorecard;
pub mod selftest;
pub mod shortage;
pub mod slo;
pub mod stats;
pub mod tally;
pub mod target;
pub mod terminal;
pub mod text;
pub mod trial;
pub mod units;
pub mod validity;
pub mod verdicts;
pub mod verify;
