//! Made-up records for the tests of this folder.

use super::recorded::Recorded;
use crate::{
    judge::verdicts::{Places, judge},
    plan::{Arrivals, Pacing, PlacementKind},
    record::{Metadata, Mode, PlanRecord},
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
        status_interval_ms: Some(100.0),
        seed: 1,
        placement: PlacementKind::Split,
        server_cpus: vec![0],
        loadgen_cpus: vec![1],
        loadgen_threads: 1,
        source_addresses: 1,
        slow_readers: 0,
        churn_per_sec: 0.0,
        flooders: 0,
        nodelay: true,
        congestion_control: "reno".to_owned(),
        flags: Vec::new(),
    }
}

/// A session without a trial.
pub(super) fn recorded(metadata: Metadata, arms: &[&str]) -> Recorded {
    let arms: Vec<String> = arms.iter().map(|arm| (*arm).to_owned()).collect();
    Recorded {
        judgement: judge(&[], &arms, &Places::default()),
        metadata,
        places: Places::default(),
        rows: Vec::new(),
        arms,
    }
}
