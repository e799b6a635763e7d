use std::time::Duration;

use super::*;
use crate::{
    engine::{
        CohortTally, Window,
        tally::{Counts, Tally},
    },
    measure::trial::KernelMemory,
    observe::ThreadUsage,
    plan::{Arrivals, Cohorts, HostArgs, PacingChoice, Payloads, PlacementKind, Rate, Shape, Windows, prepare},
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
    };
    prepare(shape, &HostArgs::standard(PacingChoice::Timer, PlacementKind::Shared), 1).unwrap()
}

fn window(counts: Counts) -> Window {
    let (cohorts, usage) = (std::array::from_fn(|_| CohortTally::default()), ThreadUsage::default());
    let tally = Tally { counts, ..Tally::default() };
    Window { tally, cohorts, ticks: Vec::new(), planned_ns: 1, usage, busy_ns: 0 }
}

/// A trial whose load came to that.
fn trial(counts: Counts) -> Trial {
    let surroundings = HostActivity::default();
    let load = Loaded { window: window(counts), span_ns: 1_000_000_000, server: None, surroundings };
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
    load.window.usage.cpu_ns = load.span_ns;
    let assessment = assess(&plan(OPEN), &trial, &Conditions::default());
    assert!(assessment.flags.contains(&Reason::of(ReasonKind::GeneratorBusy, 1.0)), "{assessment:?}");
    assert!(assessment.reasons.is_empty(), "{assessment:?}");
}
