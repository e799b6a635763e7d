//! Errors that have an exit code of their own.

use std::fmt;

/// The command line asks for something that cannot be.
#[derive(Debug)]
pub struct Usage(anyhow::Error);

impl Usage {
    /// To be used with `map_err` on what is checked before anything is measured.
    pub fn from(error: anyhow::Error) -> anyhow::Error {
        Self(error).into()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#}", self.0)
    }
}

impl std::error::Error for Usage {}

/// This host could not carry a connection of the generator: what it lacks. Nothing is said of any server.
#[derive(Debug)]
pub struct Shortage(pub String);

impl fmt::Display for Shortage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Shortage {}

/// It listens, or is said to, and cannot be measured: it refuses every connection, or does not echo.
#[derive(Debug)]
pub struct Unreachable(pub String);

impl fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

/// There is no process, or none that says where it listens: nothing can be said about it as a server.
#[derive(Debug)]
pub struct CannotStart(pub String);

impl fmt::Display for CannotStart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for CannotStart {}

/// A signal came before there was anything to keep.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}
