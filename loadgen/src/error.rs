//! Errors with an exit code of their own.

use std::fmt;

/// A usage error: the command line requests something impossible.
#[derive(Debug)]
pub struct Usage(anyhow::Error);

impl Usage {
    /// For `map_err`, on checks before a measurement.
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

/// A shortage on this host kept the generator from opening a connection; the server is not at fault.
#[derive(Debug)]
pub struct Shortage(pub String);

impl fmt::Display for Shortage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Shortage {}

/// The target cannot be measured: it refuses every connection, or does not echo.
#[derive(Debug)]
pub struct Unreachable(pub String);

impl fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

/// The server could not be started, or did not print its listening address.
#[derive(Debug)]
pub struct CannotStart(pub String);

impl fmt::Display for CannotStart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for CannotStart {}

/// A generator on another host did not come, or is gone: nothing is known about the server.
#[derive(Debug)]
pub struct GeneratorLost(pub String);

impl GeneratorLost {
    /// Whether this is why something failed.
    pub fn is_cause_of(error: &anyhow::Error) -> bool {
        let of_io = |error: &std::io::Error| error.get_ref().is_some_and(|inner| inner.is::<Self>());
        error.is::<Self>() || error.chain().any(|cause| cause.downcast_ref().is_some_and(of_io))
    }
}

impl fmt::Display for GeneratorLost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for GeneratorLost {}

/// A signal arrived before there was a result to keep.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}
