//! What the rows of a session allow to claim. Reads no file and opens no socket.

pub(crate) mod blocks;
pub(crate) mod break_even;
pub(crate) mod cell_values;
pub(crate) mod counted;
mod ladder;
pub(crate) mod lag;
pub(crate) mod metrics;
pub(crate) mod power;
pub(crate) mod primary;
pub(crate) mod replication;
pub(crate) mod scorecard;
pub(crate) mod shift;
#[cfg(test)]
mod simulation;
pub mod slo;
pub(crate) mod storm;
pub(crate) mod verdicts;
