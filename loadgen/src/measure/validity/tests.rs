use std::time::Duration;

use protocol::Service;

use super::*;
use crate::{
    engine::{
        CohortTally, Window,
        tally::{Counts, Tally},
    },
    measure::trial::{Idle, KernelMemory},
    observe::{ThreadUsage, Usage},
    plan::{
        Arrivals, Cohorts, HostArgs, PacingChoice, Payloads, Placement, PlacementKind, Rate, Shape, Windows, prepare,
    },
};

fn plan(load: Load) -> Plan {
    let window = Duration::from_millis(100);
    let shape = Shape {
        connections: 1,
        load,
        payloads: Payloads::one(64),
        windows: Windows { idle: Duration::ZERO, warmup: window, load: window, peak: Duration::ZERO, drain_bursts: 0 },
        status_interval: None,
        cohorts: Cohorts::default(),
        service: Service::default(),
    };
    prepare(shape, &HostArgs::standard(PacingChoice::Timer, PlacementKind::Shared), 1).unwrap()
}

fn window(counts: Counts) -> Window {
    let (cohorts, usage) = (std::array::from_fn(|_| CohortTally::default()), ThreadUsage::default());
    let tally = Tally { counts, ..Tally::default() };
    Window {
        tally,
        cohorts,
        ticks: Vec::new(),
        planned_ns: 1,
        span_ns: 1_000_000_000,
        usage,
        busy_ns: 0,
        parts: Vec::new(),
        clock_error: None,
    }
}

/// A trial whose load came to that.
fn trial(counts: Counts) -> Trial {
    let surroundings = HostActivity::default();
    let load = Loaded { window: window(counts), server: None, surroundings };
    Trial {
        started_at_unix_ms: 0,
        started_at_ns: 0,
        ramp: window(Counts::default()),
        idle: None,
        warmups: Vec::new(),
        undisturbed: None,
        load: Some(load),
        peak: None,
        drain: None,
        kernel_memory: KernelMemory::default(),
        server_threads_max: None,
        counters: None,
        last_words: String::new(),
        problem: None,
        shortage: None,
        interrupted: false,
        has_foreign_clock: false,
        late_start_ns: None,
    }
}

fn sent() -> Counts {
    Counts { scheduled: 1_000, handled: 1_000, sent: 1_000, echoed: 1_000, echoed_in_time: 900, ..Counts::default() }
}

/// The outcome of a sound trial, and the same in an invalid one.
fn outcomes(load: &Load, mut trial: Trial) -> (Outcome, Outcome) {
    let outcome = |trial: &Trial| assess(&plan(load.clone()), trial, &Conditions::default()).outcome;
    let sound = outcome(&trial);
    trial.interrupted = true;
    (sound, outcome(&trial))
}

const OPEN: Load = Load::Open { rate: Rate::Steady(10_000.0), arrivals: Arrivals::Constant };

#[test]
fn in_an_invalid_trial_only_wrong_bytes_are_held_against_the_server() {
    let wrong_bytes: [fn(&mut Counts); 4] = [
        |counts| counts.corrupt = 1,
        |counts| counts.duplicate = 1,
        |counts| counts.reordered = 1,
        |counts| counts.lost = 1,
    ];
    for spoil in wrong_bytes {
        let mut counts = sent();
        spoil(&mut counts);
        assert_eq!(outcomes(&OPEN, trial(counts.clone())), (Outcome::Failed, Outcome::Failed), "{counts:?}");
    }
    let cut_off: [fn(&mut Counts); 3] = [
        |counts| counts.reset = 1,
        |counts| counts.connect_failed = 1,
        |counts| (counts.lost, counts.cut_off) = (3, 3),
    ];
    for spoil in cut_off {
        let mut counts = sent();
        spoil(&mut counts);
        assert_eq!(outcomes(&OPEN, trial(counts.clone())), (Outcome::Failed, Outcome::Unclear), "{counts:?}");
    }
    let died = Trial { problem: Some("the server ended with signal 11".to_owned()), ..trial(sent()) };
    assert_eq!(outcomes(&OPEN, died), (Outcome::Failed, Outcome::Unclear));
    let slow = trial(Counts { echoed: 100, echoed_in_time: 90, backlog: 900, unanswered: 900, ..sent() });
    assert_eq!(outcomes(&OPEN, slow), (Outcome::Saturated, Outcome::Unclear));
    assert_eq!(outcomes(&OPEN, trial(sent())), (Outcome::Ok, Outcome::Ok));
}

#[test]
fn what_is_under_way_at_the_end_of_a_closed_loop_is_owed_only_by_a_server_that_is_silent() {
    let load = Load::Closed { depth: 100 };
    let slow = Counts { unanswered: 50, ..sent() };
    assert_eq!(outcomes(&load, trial(slow.clone())).0, Outcome::Ok);
    let silent = Counts { echoed: 900, ..slow };
    assert_eq!(outcomes(&load, trial(silent)), (Outcome::Saturated, Outcome::Unclear));
}

#[test]
fn what_this_host_lacks_makes_a_trial_invalid_and_says_so() {
    let short = Trial { shortage: Some("no free port".to_owned()), ..trial(Counts { short: 7, ..sent() }) };
    let assessment = assess(&plan(OPEN), &short, &Conditions::default());
    assert_eq!((assessment.validity, assessment.outcome), (Validity::Invalid, Outcome::Ok));
    assert!(assessment.reasons.contains(&Reason::of(ReasonKind::HostShortage, 7.0)), "{assessment:?}");
    assert_eq!(short.shortage(), Some("no free port"));
}

#[test]
fn a_generator_falls_behind_when_its_lag_is_worth_a_flag_or_a_slot_is_missed() {
    let falls_behind = |lag_ns: u64, counts: Counts| {
        let mut trial = trial(counts);
        let load = trial.load.as_mut().unwrap();
        (0..1_000).for_each(|_| load.window.tally.record_send(0, lag_ns));
        super::falls_behind(&plan(OPEN), load)
    };
    let limit_ns = SEND_LAG_TIMER_NS.flag as u64;
    assert!(!falls_behind(limit_ns / 2, sent()));
    assert!(falls_behind(limit_ns * 2, sent()));
    assert!(falls_behind(limit_ns / 2, Counts { handled: 999, ..sent() }));
}

#[test]
fn a_generator_that_is_busy_all_the_time_is_flagged_and_its_trial_counts() {
    let mut trial = trial(sent());
    let load = trial.load.as_mut().unwrap();
    load.window.usage.cpu_ns = load.window.span_ns;
    let assessment = assess(&plan(OPEN), &trial, &Conditions::default());
    assert!(assessment.flags.contains(&Reason::of(ReasonKind::GeneratorBusy, 1.0)), "{assessment:?}");
    assert!(assessment.reasons.is_empty(), "{assessment:?}");
}

/// A plan with the server on CPU 0, the generator on CPU 1 and the sibling of one of them on CPU 5.
fn split() -> Plan {
    let cpus = |cpus: &[usize]| cpus.to_vec();
    let placement = Placement {
        kind: PlacementKind::Split,
        server_cpus: cpus(&[0]),
        loadgen_cpus: cpus(&[1]),
        spare_cpus: cpus(&[2, 3]),
        sibling_cpus: cpus(&[5]),
        reason: String::new(),
    };
    Plan { placement, flags: Vec::new(), ..plan(OPEN) }
}

/// How a gate judges a trial, debug builds aside.
fn judged(assessment: &Assessment, kind: ReasonKind) -> (Validity, Option<f64>) {
    let found = |reasons: &[Reason]| reasons.iter().find(|reason| reason.kind == kind).copied();
    match (found(&assessment.reasons), found(&assessment.flags)) {
        (Some(reason), _) => (Validity::Invalid, reason.value),
        (None, Some(flag)) => (Validity::Flagged, flag.value),
        (None, None) => (Validity::Valid, None),
    }
}

/// Values at the limits of a gate: neither, flagged, the last that is flagged, invalid.
fn at_limits(gate: Gate) -> [(f64, Validity); 4] {
    [
        (gate.flag, Validity::Valid),
        (gate.flag * 1.001, if gate.flag < gate.invalid { Validity::Flagged } else { Validity::Invalid }),
        (gate.invalid, if gate.flag < gate.invalid { Validity::Flagged } else { Validity::Valid }),
        (gate.invalid * 1.001, Validity::Invalid),
    ]
}

/// Holds that a gate judges trials made from values as at its limits.
fn assert_gate(gate: Gate, kind: ReasonKind, assessed: impl Fn(f64) -> Assessment) {
    // A gate that never makes a trial invalid has one limit.
    for (value, expected) in at_limits(gate).into_iter().filter(|(value, _)| value.is_finite()) {
        let (validity, said) = judged(&assessed(value), kind);
        assert_eq!(validity, expected, "{kind:?} of {value}");
        assert!(said.is_none_or(|said| (said - value).abs() < value * 1e-6), "{kind:?}: {said:?} for {value}");
    }
}

const SECOND_NS: f64 = 1e9;

/// The load of a trial.
fn load(trial: &mut Trial) -> &mut Loaded {
    trial.load.as_mut().unwrap()
}

/// The assessment of a sound trial that was changed.
fn assessed(plan: &Plan, change: impl Fn(&mut Trial)) -> Assessment {
    let mut trial = trial(sent());
    change(&mut trial);
    assess(plan, &trial, &Conditions::default())
}

#[test]
fn what_others_and_the_hypervisor_took_is_a_share_of_the_time_of_the_cpus_in_use() {
    // Server, generator and a sibling.
    let ns = |share: f64| Some((share * 3.0 * SECOND_NS).round() as u64);
    assert_gate(FOREIGN_CPU, ReasonKind::ForeignCpu, |share| {
        assessed(&split(), |trial| load(trial).surroundings.foreign_cpu_ns = ns(share))
    });
    assert_gate(STEAL, ReasonKind::Steal, |share| {
        assessed(&split(), |trial| load(trial).surroundings.steal_ns = ns(share))
    });
}

#[test]
fn what_ran_on_other_cpus_spoils_nothing() {
    let busy = assessed(&split(), |trial| {
        load(trial).surroundings.foreign_cpu_ns_elsewhere = Some(13 * SECOND_NS as u64);
        load(trial).surroundings.machine_busy_ns = Some(16 * SECOND_NS as u64);
    });
    assert!(busy.reasons.is_empty() && judged(&busy, ReasonKind::ForeignCpu).0 == Validity::Valid, "{busy:?}");
}

#[test]
fn an_idle_window_is_judged_by_others_where_nothing_is_sent() {
    let idle = Windows { idle: Duration::from_secs(1), load: Duration::ZERO, ..split().windows };
    let plan = Plan { windows: idle, status_interval: Some(Duration::ZERO), ..split() };
    assert_gate(FOREIGN_CPU, ReasonKind::ForeignCpu, |share| {
        assessed(&plan, |trial| {
            let foreign_cpu_ns = Some((share * 3.0 * SECOND_NS).round() as u64);
            let surroundings = HostActivity { foreign_cpu_ns, ..HostActivity::default() };
            let window = window(Counts::default());
            trial.load = None;
            trial.idle = Some(Idle { window, ticks: Some(0), part: None, server: None, surroundings, memory: None });
        })
    });
}

/// A trial of a server that had so many threads and waited so long for its CPU.
fn waiting(trial: &mut Trial, threads: Option<u64>, share: f64) {
    let run_delay_ns = Some((share * SECOND_NS).round() as u64);
    load(trial).server = Some(Usage { run_delay_ns, ..Usage::default() });
    trial.server_threads_max = threads;
}

#[test]
fn a_server_that_waited_for_its_cpu_was_hindered_if_its_own_threads_cannot_be_the_cause() {
    for threads in [1, 2] {
        assert_gate(SERVER_RUN_DELAY, ReasonKind::ServerRunDelay, |share| {
            assessed(&split(), |trial| waiting(trial, Some(threads), share))
        });
    }
    let shared = plan(OPEN);
    for (plan, threads) in [(&split(), Some(3)), (&split(), None), (&shared, Some(1))] {
        let assessment = assessed(plan, |trial| waiting(trial, threads, 0.9));
        assert_eq!(judged(&assessment, ReasonKind::ServerRunDelay).0, Validity::Valid, "{threads:?}");
    }
}

#[test]
fn the_generators_own_waiting_is_judged_in_every_loop_and_its_work_in_an_open_one() {
    let waited = |plan: &Plan, share: f64| {
        assessed(plan, |trial| load(trial).window.usage.run_delay_ns = Some((share * SECOND_NS).round() as u64))
    };
    let busy = |plan: &Plan, share: f64| {
        assessed(plan, |trial| load(trial).window.usage.cpu_ns = (share * SECOND_NS).round() as u64)
    };
    let closed = Plan { load: Load::Closed { depth: 1 }, ..split() };
    assert_gate(RUN_DELAY, ReasonKind::RunDelay, |share| waited(&split(), share));
    assert_gate(RUN_DELAY, ReasonKind::RunDelay, |share| waited(&closed, share));
    assert_gate(BUSY, ReasonKind::GeneratorBusy, |share| busy(&split(), share));
    assert_eq!(judged(&busy(&closed, 1.0), ReasonKind::GeneratorBusy).0, Validity::Valid);
}

#[test]
fn a_late_generator_spoils_an_open_loop_and_slots_that_it_missed_as_well() {
    for (pacing, gate) in [(Pacing::Timer, SEND_LAG_TIMER_NS), (Pacing::Spin, SEND_LAG_SPIN_NS)] {
        let plan = Plan { pacing, ..split() };
        // The histogram has three digits.
        for (lag_ns, expected) in [
            (gate.flag * 0.99, Validity::Valid),
            (gate.flag * 1.01, Validity::Flagged),
            (gate.invalid * 0.99, Validity::Flagged),
            (gate.invalid * 1.01, Validity::Invalid),
        ] {
            let assessment = assessed(&plan, |trial| load(trial).window.tally.record_send(0, lag_ns as u64));
            assert_eq!(judged(&assessment, ReasonKind::SendLag).0, expected, "{pacing:?} {lag_ns}");
        }
    }
    for (missed, expected) in [(0, Validity::Valid), (1, Validity::Flagged), (2, Validity::Invalid)] {
        let assessment = assessed(&split(), |trial| load(trial).window.tally.counts.handled -= missed);
        assert_eq!(judged(&assessment, ReasonKind::SlotsMissed).0, expected, "{missed} of 1,000");
    }
}

#[test]
fn a_block_is_spoiled_by_a_slow_probe_before_or_after_it() {
    let drifted = |before: Option<f64>, after: Option<f64>| {
        let conditions = Conditions {
            drift_probe_per_sec: before,
            drift_probe_after_per_sec: after,
            drift_probe_median_per_sec: Some(10_000.0),
            ..Conditions::default()
        };
        assess(&split(), &trial(sent()), &conditions)
    };
    for (rate, expected) in [(8_501.0, Validity::Valid), (8_499.0, Validity::Invalid)] {
        for (before, after) in [(rate, 12_000.0), (12_000.0, rate)] {
            let assessment = drifted(Some(before), Some(after));
            assert_eq!(judged(&assessment, ReasonKind::Drift).0, expected, "{before} and {after}");
        }
    }
    let spoiled = drifted(Some(10_000.0), Some(8_000.0));
    assert_eq!(judged(&spoiled, ReasonKind::Drift), (Validity::Invalid, Some(1.0 - 0.8)));
    for (before, after) in [(None, None), (Some(11_000.0), None), (None, Some(9_000.0))] {
        assert_eq!(judged(&drifted(before, after), ReasonKind::Drift).0, Validity::Valid);
    }
    assert_eq!(judged(&drifted(None, Some(8_000.0)), ReasonKind::Drift).0, Validity::Invalid);
}

#[test]
fn what_the_host_did_never_makes_a_server_fail() {
    let host: [fn(&mut Trial); 4] = [
        |trial| load(trial).surroundings.foreign_cpu_ns = Some(SECOND_NS as u64),
        |trial| load(trial).surroundings.steal_ns = Some(SECOND_NS as u64),
        |trial| load(trial).window.usage.run_delay_ns = Some(SECOND_NS as u64),
        |trial| load(trial).window.tally.counts.short = 1,
    ];
    for spoil in host {
        let outcome = |counts: fn(&mut Counts)| {
            let assessment = assessed(&split(), |trial| {
                spoil(trial);
                counts(&mut load(trial).window.tally.counts);
            });
            assert_eq!(assessment.validity, Validity::Invalid);
            assessment.outcome
        };
        assert_eq!(outcome(|counts| counts.reset = 1), Outcome::Unclear);
        assert_eq!(outcome(|counts| (counts.lost, counts.cut_off) = (1, 1)), Outcome::Unclear);
        assert_eq!(outcome(|counts| counts.unanswered = 1), Outcome::Unclear);
        assert_eq!(outcome(|counts| counts.corrupt = 1), Outcome::Failed, "no host alters a byte");
    }
}

#[test]
fn every_gate_is_recorded_and_flags_before_it_refuses() {
    let gates = gates();
    let mut names: Vec<_> = gates.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), gates.len());
    assert!(gates.iter().all(|(_, gate)| gate.flag <= gate.invalid), "{gates:?}");
}
