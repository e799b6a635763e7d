//! The accounting on synthetic traces, without a clock: the right one finds the known answer, and three wrong ones that are
//! common among load generators do not.

use hdrhistogram::Histogram;

use super::known::stalled_ns;
use crate::engine::tally::Tally;

/// A message of a trace, all in nanoseconds.
#[derive(Clone, Copy)]
struct Event {
    intended_ns: u64,
    /// When the generator tried to send it.
    tried_ns: u64,
    received_ns: u64,
}

const GAP_NS: u64 = 100_000;
const SERVICE_NS: u64 = 10_000;
const STALL_NS: u64 = 50_000_000;
const PERIOD_NS: u64 = 500_000_000;
const MESSAGES: u64 = 40_000;

/// One connection, a message every 100 us, a server that takes 10 us and stands still for 50 ms in every 500. The
/// generator sends the next message only after the last echo, as most do: so it is late, and records it.
fn trace() -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for index in 0..MESSAGES {
        let intended_ns = PERIOD_NS + index * GAP_NS;
        let last_ns = events.last().map_or(0, |event| event.received_ns);
        let tried_ns = intended_ns.max(last_ns);
        let (period, within_ns) = (tried_ns / PERIOD_NS, tried_ns % PERIOD_NS);
        let begin_ns = if within_ns < STALL_NS { period * PERIOD_NS + STALL_NS } else { tried_ns };
        events.push(Event { intended_ns, tried_ns, received_ns: begin_ns + SERVICE_NS });
    }
    events
}

/// The tally of the load window, recorded as the engine does.
fn tally(events: &[Event]) -> Tally {
    let mut tally = Tally::default();
    for event in events {
        tally.record_send(event.intended_ns, event.tried_ns);
        tally.record_echo(event.intended_ns, event.tried_ns, event.received_ns);
    }
    tally
}

/// Whether a distribution of response times is the one that theory predicts, within 3 % of the stall.
fn is_right(responses: &Histogram<u64>) -> bool {
    let utilisation = SERVICE_NS as f64 / GAP_NS as f64;
    let close = |quantile: f64| {
        let expected = stalled_ns(STALL_NS as f64, PERIOD_NS as f64, utilisation, quantile);
        (responses.value_at_quantile(quantile) as f64 - expected).abs() <= 0.03 * STALL_NS as f64
    };
    [0.92, 0.95, 0.99].into_iter().all(close) && responses.len() == MESSAGES
}

#[test]
fn the_response_of_the_tally_is_what_theory_predicts() {
    assert!(is_right(&tally(&trace()).response));
}

#[test]
fn latency_from_the_actual_send_is_told_from_the_right_one() {
    // What closed-loop tools call latency: coordinated omission. The tally keeps it under its own name.
    let tally = tally(&trace());
    assert!(!is_right(&tally.service));
    assert!(tally.service.value_at_quantile(0.99) < 2 * SERVICE_NS, "one message a stall does not show at p99");
}

#[test]
fn corrected_recording_is_told_from_the_right_one() {
    // It adds the messages that a coordinated generator left out. Here none is left out, so it counts twice.
    let mut corrected = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    for event in trace() {
        corrected.record_correct(event.received_ns - event.intended_ns, GAP_NS).unwrap();
    }
    assert!(!is_right(&corrected));
}

#[test]
fn a_warm_up_that_leaks_into_the_load_is_told_from_the_right_one() {
    // A cold server answers after 70 ms, for a fiftieth of the messages.
    let cold = |index: u64| Event { intended_ns: index, tried_ns: index, received_ns: index + 70_000_000 };
    let leaked: Vec<Event> = (0..MESSAGES / 50).map(cold).chain(trace()).collect();
    assert!(!is_right(&tally(&leaked).response));
    // Even if it leaked without changing the number of messages.
    let same_number = &leaked[..MESSAGES as usize];
    assert!(!is_right(&tally(same_number).response));
}

#[test]
fn littles_law_holds_for_the_right_times_and_for_no_others() {
    let events = trace();
    let tally = tally(&events);
    let recorded = |histogram: &Histogram<u64>| histogram.mean() * histogram.len() as f64;
    let under_way: u64 = events.iter().map(|event| event.received_ns - event.intended_ns).sum();
    let deviation = |recorded: f64| (recorded / under_way as f64 - 1.0).abs();
    assert!(deviation(recorded(&tally.response)) < 0.001);
    assert!(deviation(recorded(&tally.service)) > crate::measure::validity::LITTLES_LAW.invalid);
}
