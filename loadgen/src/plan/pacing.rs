//! How the generator waits.

/// How the generator waits for the next slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pacing {
    /// Polls without a timeout and reads the clock: needs a CPU of its own.
    Spin,
    /// Sleeps until an absolute timerfd (timerfd_create(2)) or a socket wakes it.
    Timer,
}

impl Pacing {
    /// Name on the command line and in records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Timer => "timer",
        }
    }
}
