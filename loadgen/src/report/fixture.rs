//! Made-up records for the tests of this folder.

use super::{
    model::{MetricClaims, Report},
    pictures::Picture,
    session::JudgedSession,
};
use crate::{
    judge::{
        primary::PRIMARY,
        verdicts::{PairComparison, PairResult},
    },
    observe::Facts,
    plan::{Arrivals, Pacing, PlacementKind},
    record::{CellRecord, Configuration, Latency, Metadata, Mode, PlanRecord, Primary, Row, State},
    stats::{comparison::Comparison, verdict::Verdict},
};

/// A plan of 64 connections and 20,000 messages per second with a spinning client.
pub(super) fn plan_record() -> PlanRecord {
    PlanRecord {
        connections: 64,
        mode: Mode::Open,
        rate_per_sec: Some("20000".to_owned()),
        arrivals: Some(Arrivals::Poisson),
        depth: None,
        pacing: Pacing::Spin,
        payloads: "64B".to_owned(),
        idle_ms: 300.0,
        warmup_ms: 150.0,
        load_ms: 500.0,
        peak_ms: 200.0,
        drain_bursts: 20,
        loadgen_delay_ns: 0,
        status_interval_ms: Some(100.0),
        seed: 1,
        placement: PlacementKind::Split,
        server_cpus: vec![0],
        loadgen_cpus: vec![1],
        placement_reason: String::new(),
        loadgen_threads: 1,
        source_addresses: 1,
        slow_readers: 0,
        churn_per_sec: 0.0,
        flooders: 0,
        work: None,
        handshake_ms: None,
        idle_timeout_ms: None,
        nodelay: true,
        congestion_control: "reno".to_owned(),
        flags: Vec::new(),
    }
}

/// A comparison of mio with tokio over 40 blocks.
pub(super) fn pair(metric: usize, estimate: f64, interval: (f64, f64), verdict: Verdict) -> PairComparison {
    let comparison = Comparison { estimate, interval, level: 0.95, blocks: 40, p_value: 0.0, p_adjusted: 0.0, verdict };
    PairComparison {
        metric: PRIMARY[metric],
        first: "tokio".to_owned(),
        second: "mio".to_owned(),
        result: PairResult::Compared(comparison),
        lag: None,
    }
}

/// The claims about the metric of these pairs.
pub(super) fn metric_claims(plan: Option<PlanRecord>, pairs: Vec<PairComparison>) -> MetricClaims {
    let metric = pairs[0].metric;
    MetricClaims {
        metric: metric.name,
        margin: metric.margin,
        cell: String::new(),
        plan,
        blocks: 40,
        pairs,
        control: Vec::new(),
    }
}

/// A session of 40 blocks and one load cell, in which mio is slower than this arm; mio runs twice, and the name of the
/// arm is also that of the session, the host and its CPU, and in the command and the title of a picture.
pub(super) fn report(strange: &str) -> Report {
    let primary = Primary { latency: strange.to_owned(), cpu: strange.to_owned() };
    let picture = Picture { name: "verdicts".to_owned(), title: strange.to_owned(), svg: "<svg/>".to_owned() };
    Report::of(&of_one_cell(strange, Some(primary)), vec![picture])
}

/// A session as [`report`] has it, with these primary cells.
pub(super) fn of_one_cell(strange: &str, primary: Option<Primary>) -> JudgedSession {
    let arms = [format!("{strange}."), "tokio".to_owned(), "tokio#2".to_owned()];
    let cell = CellRecord { cell: strange.to_owned(), arms: arms.to_vec(), blocks: 40, plan: plan_record() };
    let metadata = Metadata {
        session_id: strange.to_owned(),
        state: State::Complete,
        command: vec![strange.to_owned()],
        configuration: Configuration {
            plan: Some(plan_record()),
            cells: vec![cell],
            primary,
            ..Configuration::default()
        },
        environment: Facts { host: strange.to_owned(), cpu_model: Some(strange.to_owned()), ..Facts::default() },
        ..Metadata::unknown()
    };
    let rows = (1..=40).flat_map(|block| arms.clone().map(|arm| row(strange, block, &arm)));
    JudgedSession::of(metadata, rows.collect())
}

fn row(cell: &str, block: u64, arm: &str) -> Row {
    let ns = if arm.starts_with("tokio") { 20_000 } else { 25_000 } + (block * 7 + arm.len() as u64 / 6) % 5 * 100;
    let latency = Latency { p50: Some(ns), p99: Some(2 * ns), ..Latency::default() };
    Row {
        cell: Some(cell.to_owned()),
        block,
        arm: arm.to_owned(),
        response_ns: latency.clone(),
        service_ns: latency,
        rate_offered_per_sec: Some(1e4),
        server_cpu_ns_load: Some(10_000 * ns),
        echoed_count: Some(10_000),
        server_wakeups_idle: Some(3),
        ticks_idle_count: Some(3),
        status_interval_ms: Some(100.0),
        ..Row::default()
    }
}
