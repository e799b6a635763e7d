//! Exit codes.

use crate::error::{CannotStart, GeneratorLost, Interrupted, Shortage, Unreachable, Usage};

/// Every exit code, in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// A usage error.
    Usage,
    /// Interrupted by a signal; completed trials stay recorded.
    Interrupted,
    /// The target cannot be reached, or violates the protocol in a valid trial.
    Target,
    /// The measurement is invalid.
    Invalid,
    /// The response misses the latency objective.
    Slo,
    /// Any other error.
    Internal,
    /// Success.
    Ok,
}

impl Exit {
    /// The exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Interrupted => crate::interrupt::EXIT_CODE,
            Self::Target => 3,
            Self::Invalid => 5,
            Self::Slo => 4,
            Self::Internal => 1,
            Self::Ok => 0,
        }
    }

    /// The exit code of an error.
    pub fn of(error: &anyhow::Error) -> Self {
        if error.downcast_ref::<Usage>().is_some() {
            Self::Usage
        } else if error.is::<Interrupted>() {
            Self::Interrupted
        } else if error.is::<Unreachable>() || error.is::<CannotStart>() {
            Self::Target
        } else if error.is::<Shortage>() || GeneratorLost::is_cause_of(error) {
            Self::Invalid
        } else {
            Self::Internal
        }
    }
}
