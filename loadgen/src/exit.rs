//! How a command ends: exit codes.

use crate::error::{CannotStart, Interrupted, Shortage, Unreachable, Usage};

/// Every exit code, the one that takes precedence first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// The command line asks for something that cannot be.
    Usage,
    /// A signal came; what there is stays recorded.
    Interrupted,
    /// The target cannot be reached, or breaks the protocol in a sound trial.
    Target,
    /// The measurement may not be believed.
    Invalid,
    /// The response does not keep what was asked of it.
    Slo,
    /// Anything else that went wrong.
    Internal,
    /// Nothing went wrong.
    Ok,
}

impl Exit {
    /// The code that the process returns.
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

    /// That of an error.
    pub fn of(error: &anyhow::Error) -> Self {
        if error.downcast_ref::<Usage>().is_some() {
            Self::Usage
        } else if error.is::<Interrupted>() {
            Self::Interrupted
        } else if error.is::<Unreachable>() || error.is::<CannotStart>() {
            Self::Target
        } else if error.downcast_ref::<Shortage>().is_some() {
            Self::Invalid
        } else {
            Self::Internal
        }
    }
}
