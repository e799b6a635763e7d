//! Measures echo-and-status servers.

pub mod engine;
pub mod interrupt;
pub mod observe;
pub mod plan;
pub mod record;
pub mod tally;
pub mod target;
pub mod trial;
pub mod units;
pub mod validity;
