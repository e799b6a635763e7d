//! What a record says in a word of a fixed vocabulary.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::column::Scalar;
use crate::plan::{Arrivals, Pacing, PlacementKind};

/// Makes an enum whose values have a name in records.
macro_rules! vocabulary {
    ($(#[$meta:meta])* $type:ident, $right:literal { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $type {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $type {
            /// Every one, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in records.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl Scalar for $type {
            fn value(&self) -> Value {
                self.name().into()
            }

            fn parse(field: &str) -> Result<Self, &'static str> {
                Self::ALL.iter().find(|it| it.name() == field).copied().ok_or($right)
            }
        }
    };
}

vocabulary! {
    /// Whether the figures of a trial may be believed.
    Validity, "valid, flagged or invalid" {
        /// Every gate was passed.
        Valid = "valid",
        /// To be read with the flags in mind.
        Flagged = "flagged",
        /// Not to be used.
        Invalid = "invalid",
    }
}

vocabulary! {
    /// What the server made of the load. Kept and printed, never retried away.
    Outcome, "ok, saturated, unclear or failed" {
        /// It echoed everything in time.
        Ok = "ok",
        /// It echoed less than was offered.
        Saturated = "saturated",
        /// Something was late, cut off or refused in a trial that was spoiled: the cause is not known.
        Unclear = "unclear",
        /// Something was lost, altered, cut off or refused.
        Failed = "failed",
    }
}

vocabulary! {
    /// When messages are sent.
    Mode, "open or closed" {
        /// At given times, independent of the server.
        Open = "open",
        /// For each that comes back a new one.
        Closed = "closed",
    }
}

vocabulary! {
    /// What was measured.
    TargetKind, "server, command or address" {
        /// A server of this project, in a fresh process.
        Server = "server",
        /// Any other program, in a fresh process.
        Command = "command",
        /// An address at which something listened already.
        Address = "address",
    }
}

vocabulary! {
    /// Where a session stands.
    State, "running, complete or partial" {
        /// Trials are being added.
        Running = "running",
        /// Every planned trial is there.
        Complete = "complete",
        /// It was cut short; what there is may be read.
        Partial = "partial",
    }
}

vocabulary! {
    /// Why the highest rate of a ladder was not exceeded.
    EndedBy, "saturated, failed, generator or invalid" {
        /// The server was saturated.
        Saturated = "saturated",
        /// The server failed.
        Failed = "failed",
        /// The generator sent too late: the server may sustain more.
        Generator = "generator",
        /// The trials were invalid: the server may sustain more.
        Invalid = "invalid",
    }
}

vocabulary! {
    /// Kinds of reasons against a trial, and of its flags, with the unit of their amounts.
    ReasonKind, "a reason" {
        /// Slots whose turn did not come, as a share of all.
        SlotsMissed = "slots_missed",
        /// The 99th percentile of the send lag, in nanoseconds.
        SendLag = "send_lag",
        /// Share of the time that the generator was runnable and did not run.
        RunDelay = "run_delay",
        /// Share of the time of the CPUs in use that the hypervisor gave to others.
        Steal = "steal",
        /// Share of the time that the generator had something to do.
        GeneratorBusy = "generator_busy",
        /// Share of the time of the CPUs in use that other processes used.
        ForeignCpu = "foreign_cpu",
        /// Share of the time that a server without threads to wait for was runnable and did not run.
        ServerRunDelay = "server_run_delay",
        /// How far the drift probe was below the session's median, as a share of it.
        Drift = "drift",
        /// How far the messages in flight are from rate times mean response, as a share.
        LittlesLaw = "littles_law",
        /// Number of times beyond the range of the histograms.
        OutOfRange = "out_of_range",
        /// Number of status lines whose times make no sense to this host's clock.
        StatusClock = "status_clock",
        /// Number of connections that this host could not carry.
        HostShortage = "host_shortage",
        /// A signal came.
        Interrupted = "interrupted",
        /// No status line came, so the idle window is not aligned to ticks.
        IdleNotAligned = "idle_not_aligned",
        /// Too few bursts of the drain window count, or none.
        NoDrain = "no_drain",
        /// There is no trial, only the error that came instead of one.
        NothingMeasured = "nothing_measured",
        /// The generator was built without optimisation.
        DebugBuild = "debug_build",
        /// Server and generator share the only CPU.
        OneCpu = "one_cpu",
        /// A cgroup limits the CPU time.
        CpuQuota = "cpu_quota",
        /// Server and generator are on hardware threads of one core, or on one CPU of several.
        SharedCore = "shared_core",
        /// How much too late a generator on another host learned of a window, in nanoseconds.
        LateStart = "late_start",
        /// The uncertainty of another host's clock, as a share of the median delivery of a status.
        ClockError = "clock_error",
        /// The server runs by a clock that the generator does not know, so no delivery of a status is known.
        ForeignClock = "foreign_clock",
        /// How far apart the median service times of the generators' hosts are, as a share of the smallest.
        HostsDiffer = "hosts_differ",
    }
}

/// A reason against a trial, or a flag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reason {
    /// Which it is.
    pub kind: ReasonKind,
    /// The amount, in the unit of its kind.
    pub value: Option<f64>,
}

impl Reason {
    /// A reason with an amount.
    pub fn of(kind: ReasonKind, value: f64) -> Self {
        Self { kind, value: Some(value) }
    }
}

impl From<ReasonKind> for Reason {
    fn from(kind: ReasonKind) -> Self {
        Self { kind, value: None }
    }
}

/// Several reasons, recorded as `steal=0.041; interrupted`.
impl Scalar for Vec<Reason> {
    const MAY_BE_EMPTY: bool = true;

    fn value(&self) -> Value {
        let reason = |reason: &Reason| match reason.value {
            None => reason.kind.name().to_owned(),
            Some(value) => format!("{}={}", reason.kind.name(), three_digits(value)),
        };
        self.iter().map(reason).collect::<Vec<_>>().join("; ").into()
    }

    fn parse(field: &str) -> Result<Self, &'static str> {
        const RIGHT: &str = "reasons such as steal=0.041; interrupted";
        let reason = |text: &str| {
            let (kind, value) = text.split_once('=').map_or((text, None), |(kind, value)| (kind, Some(value)));
            let kind = ReasonKind::parse(kind).map_err(|_| RIGHT)?;
            let finite = |value: &str| value.parse().ok().filter(|value: &f64| value.is_finite()).ok_or(RIGHT);
            let value = value.map(finite).transpose()?;
            Ok(Reason { kind, value })
        };
        field.split(';').map(str::trim).filter(|text| !text.is_empty()).map(reason).collect()
    }
}

/// A number with three significant digits, or all digits of a whole one.
fn three_digits(value: f64) -> String {
    if value.abs() >= 100.0 || value == 0.0 {
        return format!("{value:.0}");
    }
    let places = (2.0 - value.abs().log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.places$}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The words of a plan.
macro_rules! named {
    ($type:ty, $right:literal, $($variant:expr),*) => {
        impl Scalar for $type {
            fn value(&self) -> Value {
                self.name().into()
            }

            fn parse(field: &str) -> Result<Self, &'static str> {
                [$($variant),*].into_iter().find(|it| it.name() == field).ok_or($right)
            }
        }
    };
}

named!(Arrivals, "poisson or constant", Arrivals::Poisson, Arrivals::Constant);
named!(Pacing, "spin or timer", Pacing::Spin, Pacing::Timer);
named!(PlacementKind, "split, shared or hosts", PlacementKind::Split, PlacementKind::Shared, PlacementKind::Hosts);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_as_they_were_written() {
        let reasons = vec![
            Reason::of(ReasonKind::Steal, 0.0412),
            ReasonKind::Interrupted.into(),
            Reason::of(ReasonKind::SendLag, 52_431.0),
        ];
        let written = reasons.value();
        assert_eq!(written, "steal=0.0412; interrupted; send_lag=52431");
        assert_eq!(Vec::<Reason>::parse(written.as_str().unwrap()), Ok(reasons));
        assert_eq!(Vec::<Reason>::parse(""), Ok(Vec::new()));
        for wrong in ["the host had a slow moment", "steal=", "steal=x", "steal=NaN"] {
            assert!(Vec::<Reason>::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_amount_keeps_three_digits() {
        let shown = [0.0, 0.000_123_4, 0.1, 1.5, 12.34, 99.96, 1234.5].map(three_digits);
        assert_eq!(shown, ["0", "0.000123", "0.1", "1.5", "12.3", "100", "1234"]);
    }
}
