//! What the rows of a session say. Reads no file and opens no socket.

pub mod counted;
pub mod metrics;
pub mod scorecard;
pub mod slo;
pub mod verdicts;
