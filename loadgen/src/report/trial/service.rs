//! What the server does besides echoing and broadcasting, in the summary of a trial.

use protocol::{Counters, Feature};

use super::point;
use crate::{
    measure::trial::Trial,
    plan::{CohortKind, Plan, units::show_duration},
    report::layout::{listed, wrapped},
    text::Text,
};

/// What was asked for, on lines of its own.
pub(super) fn asked_for(plan: &Plan) -> Text {
    let service = &plan.service;
    let time = |duration: Option<_>| duration.map_or_else(String::new, show_duration);
    let parts = service.features().map(|feature| match feature {
        Feature::Work => format!("{} of work per message", service.work),
        Feature::Handshake => format!("handshake within {}", time(service.handshake)),
        Feature::IdleTimeout => format!("idle timeout {}", time(service.idle_timeout)),
    });
    let line = parts.collect::<Vec<_>>().join("; ");
    if line.is_empty() { Text::default() } else { wrapped(&line.into(), 0) }
}

/// How handshakes and timeouts went: from connect() to the welcome as the churn saw it, and what the server counted, if it
/// was started for the trial.
pub(super) fn outcome(plan: &Plan, trial: &Trial) -> Text {
    let counted = |count: fn(&Counters) -> u64| trial.counters.as_ref().map(count);
    let mut text = Text::default();
    if plan.service.handshake.is_some() {
        let mut items = Vec::new();
        let cohorts = trial.load.as_ref().map(|load| &load.window.cohorts[CohortKind::Churn as usize]);
        if let Some(cohort) = cohorts.filter(|cohort| !cohort.welcome.is_empty()) {
            let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|quantile| point(&cohort.welcome, quantile));
            items.push(format!("{} welcomes, after connect(): p50 {p50} us", cohort.welcome.len()));
            items.extend([format!("p95 {p95}"), format!("p99 {p99}")]);
        }
        items.extend(counted(|it| it.handshakes_failed).map(|count| format!("{count} failed")));
        items.extend(counted(|it| it.handshakes_timed_out).map(|count| format!("{count} timed out")));
        text.push(if items.is_empty() { Text::default() } else { listed("handshake", &items) });
    }
    if plan.service.idle_timeout.is_some()
        && let Some(count) = counted(|it| it.idle_timeouts)
    {
        text.push(listed("timeouts", &[format!("{count} connections closed for their silence")]));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::Service;

    use super::*;
    use crate::plan::{Cohorts, HostArgs, Load, PacingChoice, Payloads, PlacementKind, Shape, Windows, prepare};

    fn plan(service: Service) -> Plan {
        let (ms, zero) = (Duration::from_millis(100), Duration::ZERO);
        let shape = Shape {
            connections: 1,
            load: Load::Closed { depth: 1 },
            payloads: Payloads::one(64),
            windows: Windows { idle: zero, warmup: zero, load: ms, peak: zero, drain_bursts: 0 },
            status_interval: None,
            cohorts: Cohorts::default(),
            service,
        };
        prepare(shape, &HostArgs::standard(PacingChoice::Timer, PlacementKind::Shared), 1).unwrap()
    }

    #[test]
    fn only_what_was_asked_for_is_told() {
        let asked_for = |service| asked_for(&plan(service)).without_tones();
        assert_eq!(asked_for(Service::default()), "");
        let all = Service {
            work: "2us,0.2%:20ms".parse().unwrap(),
            handshake: Some(Duration::from_secs(5)),
            idle_timeout: Some(Duration::from_secs(90)),
        };
        let line = "2us,0.2%:20ms of work per message; handshake within 5s; idle timeout 1m30s\n";
        assert_eq!(asked_for(all), line);
        let some = Service { work: Default::default(), handshake: None, ..all };
        assert_eq!(asked_for(some), "idle timeout 1m30s\n");
    }
}
