//! Reasons against trials, in words.

use crate::record::{Reason, ReasonKind};

/// The reason without its amount.
pub(in crate::report) fn title(kind: ReasonKind) -> &'static str {
    match kind {
        ReasonKind::SlotsMissed => "send slots were missed",
        ReasonKind::SendLag => "high send lag p99",
        ReasonKind::RunDelay => "the generator waited for a CPU",
        ReasonKind::Steal => "the hypervisor stole CPU time",
        ReasonKind::GeneratorBusy => "the generator was busy",
        ReasonKind::ForeignCpu => "other processes used the CPUs of the measurement",
        ReasonKind::ServerRunDelay => "the server waited for its CPU",
        ReasonKind::Drift => "the drift probe fell below its median",
        ReasonKind::LittlesLaw => "messages in flight contradict Little's law",
        ReasonKind::OutOfRange => "times beyond 60 s",
        ReasonKind::StatusClock => "status times do not fit this host's clock",
        ReasonKind::HostShortage => "this host ran short of ports, descriptors or memory",
        ReasonKind::Interrupted => "interrupted",
        ReasonKind::IdleNotAligned => "no status line: the idle window is not aligned to ticks",
        ReasonKind::NoDrain => "the drain window has no figure",
        ReasonKind::NothingMeasured => "nothing was measured",
        ReasonKind::DebugBuild => "debug build",
        ReasonKind::OneCpu => "server and generator share the only CPU",
        ReasonKind::CpuQuota => "a cgroup limits the CPU time",
        ReasonKind::SharedCore => "server and generator share a core",
        ReasonKind::LateStart => "a generator learned too late of a window",
        ReasonKind::ClockError => "a generator's clock is too uncertain for delivery times",
        ReasonKind::ForeignClock => "the server is on another host: its clock is not known, nor is any delivery time",
        ReasonKind::HostsDiffer => "the generators' hosts see different service times",
    }
}

/// The reason with its amount.
pub(crate) fn sentence(reason: &Reason) -> String {
    let title = title(reason.kind);
    let Some(value) = reason.value else { return title.to_owned() };
    match reason.kind {
        ReasonKind::SendLag | ReasonKind::LateStart => format!("{title}: {:.0} us", value / 1e3),
        ReasonKind::OutOfRange | ReasonKind::StatusClock => format!("{title}: {value:.0}"),
        ReasonKind::HostShortage => format!("{title}: {value:.0} connections"),
        ReasonKind::SlotsMissed => format!("{title}: {:.2} %", value * 100.0),
        ReasonKind::GeneratorBusy | ReasonKind::Drift => {
            format!("{title}: {:.0} %", value * 100.0)
        }
        _ => format!("{title}: {:.1} %", value * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_said_with_its_amount_in_its_unit() {
        let said = |kind, value| sentence(&Reason::of(kind, value));
        assert_eq!(said(ReasonKind::SendLag, 52_431.0), "high send lag p99: 52 us");
        assert_eq!(said(ReasonKind::Steal, 0.0412), "the hypervisor stole CPU time: 4.1 %");
        assert_eq!(said(ReasonKind::OutOfRange, 3.0), "times beyond 60 s: 3");
        assert_eq!(sentence(&ReasonKind::Interrupted.into()), "interrupted");
        assert!(ReasonKind::ALL.iter().all(|kind| !title(*kind).is_empty()));
    }
}
