//! Plans that are refused, and how many connections fit.

use protocol::Service;

use super::*;
use crate::plan::{Arrivals, Cohorts, HostArgs, PacingChoice, Payloads, PlacementKind, Shape, Windows, prepare};

/// A plan that every host can carry out.
fn plan() -> Plan {
    let window = Duration::from_millis(100);
    let shape = Shape {
        connections: 8,
        load: Load::Open { rate: Rate::Steady(1_000.0), arrivals: Arrivals::Poisson },
        payloads: Payloads::one(64),
        windows: Windows { idle: window, warmup: window, load: window, peak: Duration::ZERO, drain_bursts: 0 },
        status_interval: None,
        cohorts: Cohorts::default(),
        service: Service::default(),
    };
    prepare(shape, &HostArgs::standard(PacingChoice::Timer, PlacementKind::Shared), 1).unwrap()
}

/// Changes a plan that passes and returns the reason for which it is then refused.
fn refusal(limits: HostLimits, change: impl FnOnce(&mut Plan)) -> String {
    let mut plan = plan();
    plan.check(&limits).unwrap();
    change(&mut plan);
    plan.check(&limits).unwrap_err().to_string()
}

#[test]
fn a_plan_that_measures_nothing_is_refused_with_the_option_to_change() {
    let no_limits = HostLimits::default();
    for (change, option) in [
        (Box::new(|plan: &mut Plan| plan.connections = 0) as Box<dyn FnOnce(&mut Plan)>, "--connections 1"),
        (Box::new(|plan| plan.payloads = Payloads::one(0)), "--payload 1B"),
        (Box::new(|plan| plan.payloads = Payloads::one(PAYLOAD_BYTES_MAX + 1)), "--payload 16MiB"),
        (Box::new(|plan| (plan.windows.idle, plan.windows.load) = Default::default()), "--duration"),
        (Box::new(|plan| plan.load = Load::Closed { depth: 0 }), "--depth 1"),
        (Box::new(|plan| plan.threads = 0), "--threads 1"),
        (Box::new(|plan| plan.threads = 9), "fewer --threads"),
        (Box::new(|plan| plan.source_addresses = 0), "--source-addresses 1"),
        (Box::new(|plan| plan.source_addresses = 201), "fewer --source-addresses"),
    ] {
        let reason = refusal(no_limits, change);
        assert!(reason.contains(option), "{reason}");
    }
}

#[test]
fn clients_that_misbehave_need_a_load() {
    let reason = refusal(HostLimits::default(), |plan| {
        plan.cohorts.slow_readers = 1;
        plan.windows.load = Duration::ZERO;
    });
    assert!(reason.contains("--duration"), "{reason}");
}

#[test]
fn connections_are_held_against_the_descriptors_and_the_ports_of_the_host() {
    let few = HostLimits { descriptors: Some(100), ..HostLimits::default() };
    let reason = refusal(few, |plan| plan.connections = 37);
    assert!(reason.contains("need 101 descriptors") && reason.contains("at most 36"), "{reason}");
    let few = HostLimits { ports: Some(10), ..HostLimits::default() };
    let reason = refusal(few, |plan| plan.cohorts.slow_readers = 3);
    assert!(reason.contains("11 connections (--connections + --slow-readers)"), "{reason}");
    assert!(reason.contains("--source-addresses 2"), "{reason}");
}

#[test]
fn a_churn_that_uses_up_the_ports_is_refused() {
    let minute = Duration::from_secs(60);
    let limits = HostLimits { ports: Some(28_000), time_wait: minute, ..HostLimits::default() };
    let churn = |plan: &mut Plan| {
        plan.cohorts.churn_per_sec = 5_000.0;
        (plan.windows.warmup, plan.windows.load) = (Duration::from_secs(1), Duration::from_secs(10));
    };
    let reason = refusal(limits, churn);
    assert!(reason.contains("--churn leaves 36667 ports") && reason.contains("--source-addresses 2"), "{reason}");
    let mut plan = plan();
    churn(&mut plan);
    plan.source_addresses = 2;
    assert!(plan.check(&limits).is_ok());
    plan.source_addresses = 1;
    assert!(plan.check(&HostLimits { time_wait: Duration::from_secs(2), ..limits }).is_ok(), "they are used again");
    plan.windows.load = Duration::from_secs(5);
    assert!(plan.check(&limits).is_ok(), "it does not last");
    let reason = refusal(limits, |plan| {
        churn(plan);
        plan.cohorts.churn_per_sec = 1e6;
    });
    assert!(reason.contains("a lower --churn"), "{reason}");
}

#[test]
fn the_drain_has_as_many_connections_as_fit_beside_the_others() {
    let mut plan = plan();
    let drain =
        |plan: &Plan, descriptors, ports| plan.drain_fit(&HostLimits { descriptors, ports, ..HostLimits::default() });
    assert_eq!(drain(&plan, None, None), 0, "no bursts, no connections");
    plan.windows.drain_bursts = 1;
    assert_eq!(drain(&plan, None, None), 512);
    assert_eq!(drain(&plan, Some(1_000), Some(100)), 92, "8 ports are taken");
    plan.source_addresses = 2;
    assert_eq!(drain(&plan, Some(100), Some(100)), 24, "8 descriptors are taken, and 68 spared");
    assert_eq!(drain(&plan, Some(70), None), 0);
    plan.payloads = Payloads::one(16 << 20);
    assert_eq!(drain(&plan, None, None), 4);
    plan.payloads = Payloads::one(64);
    for (work, connections) in [("20us", 512), ("20ms", 50), ("1%:200ms", 500), ("1s", 1)] {
        plan.service.work = work.parse().unwrap();
        assert_eq!(drain(&plan, None, None), connections, "{work}");
    }
}

#[test]
fn a_schedule_that_exceeds_half_of_the_memory_is_refused_with_its_cause() {
    let little = HostLimits { memory_bytes: Some(10_000_000), ..HostLimits::default() };
    let reason = refusal(little, |plan| plan.windows.load = Duration::from_secs(1_000));
    assert!(reason.starts_with("the messages of a window") && reason.contains("--rate"), "{reason}");
}

#[test]
fn more_messages_than_a_schedule_holds_are_refused_with_the_given_options() {
    let rate = Rate::Steady(1e6);
    assert!(ensure_slots(&rate, Duration::from_secs(50), "--from", "--duration").is_ok());
    let error = ensure_slots(&rate, Duration::from_secs(51), "--from", "--duration").unwrap_err().to_string();
    assert!(error.contains("lower --from") && error.contains("shorter --duration"), "{error}");
}
