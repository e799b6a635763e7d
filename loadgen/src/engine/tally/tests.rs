use super::*;
use proptest::prelude::*;
use std::iter;

/// A call of one of the recording functions.
#[derive(Clone, Copy, Debug)]
enum Record {
    Echo { intended_ns: u64, tried_ns: u64, received_ns: u64 },
    ClosedEcho { tried_ns: u64, received_ns: u64 },
    Send { intended_ns: u64, tried_ns: u64 },
    Connect { started_ns: u64, echoed_ns: u64 },
    Status { due_ns: u64, received_ns: u64 },
    Tick { due_ns: u64, emit_ns: u64 },
    Spread { first_ns: u64, last_ns: u64 },
    Interference { in_fanout: bool, response_ns: u64 },
    Light { response_ns: u64 },
}

impl Record {
    fn apply(self, tally: &mut Tally) {
        match self {
            Self::Echo { intended_ns, tried_ns, received_ns } => tally.record_echo(intended_ns, tried_ns, received_ns),
            Self::ClosedEcho { tried_ns, received_ns } => tally.record_closed_echo(tried_ns, received_ns),
            Self::Send { intended_ns, tried_ns } => tally.record_send(intended_ns, tried_ns),
            Self::Connect { started_ns, echoed_ns } => tally.record_connect(started_ns, echoed_ns),
            Self::Status { due_ns, received_ns } => tally.record_status(due_ns, received_ns),
            Self::Tick { due_ns, emit_ns } => tally.record_tick(due_ns, emit_ns),
            Self::Spread { first_ns, last_ns } => tally.record_spread(first_ns, last_ns),
            Self::Interference { in_fanout, response_ns } => tally.record_interference(in_fanout, response_ns),
            Self::Light { response_ns } => tally.record_light(response_ns),
        }
    }
}

/// Records of every kind, within and beyond a window of three seconds; some times run backwards.
fn record() -> impl Strategy<Value = Record> {
    let times = [0..4_000_000_000_u64, 0..4_000_000_000, 0..4_000_000_000];
    (0..9_u8, times, any::<bool>()).prop_map(|(kind, [first, second, third], in_fanout)| match kind {
        0 => Record::Echo { intended_ns: first, tried_ns: second, received_ns: third },
        1 => Record::ClosedEcho { tried_ns: first, received_ns: second },
        2 => Record::Send { intended_ns: first, tried_ns: second },
        3 => Record::Connect { started_ns: first, echoed_ns: second },
        4 => Record::Status { due_ns: first, received_ns: second },
        5 => Record::Tick { due_ns: first, emit_ns: second },
        6 => Record::Spread { first_ns: first, last_ns: second },
        7 => Record::Light { response_ns: first },
        _ => Record::Interference { in_fanout, response_ns: first },
    })
}

/// The recorded times with the names of their histograms; three digits are exact below 2,048 ns.
fn recorded(tally: &Tally) -> Vec<(&'static str, u64)> {
    let histograms = [
        ("response", &tally.response),
        ("service", &tally.service),
        ("send_lag", &tally.send_lag),
        ("response_in_fanout", &tally.response_in_fanout),
        ("response_outside_fanout", &tally.response_outside_fanout),
        ("response_light", &tally.response_light),
        ("status_emit_lag", &tally.status_emit_lag),
        ("status_delivery", &tally.status_delivery),
        ("status_spread", &tally.status_spread),
        ("connect", &tally.connect),
    ];
    let times = histograms.into_iter().flat_map(|(name, histogram)| {
        histogram.iter_recorded().map(move |time| (name, time.value_iterated_to())).collect::<Vec<_>>()
    });
    times.collect()
}

/// Counts of responses, service times, send lags and status deliveries, per second.
fn by_second(tally: &Tally) -> Vec<[u64; 4]> {
    let lengths = |second: &Second| {
        [&second.response, &second.service, &second.send_lag, &second.status_delivery].map(Histogram::len)
    };
    tally.seconds.iter().map(lengths).collect()
}

/// A call, the histograms with the values that it records, and the counts that it leaves.
type Case<'a> = (Record, &'a [(&'a str, u64)], &'a Counts);

#[test]
fn every_time_is_recorded_in_its_own_histogram() {
    let (echo, status) = (Counts { echoed: 1, ..Counts::default() }, Counts { statuses: 1, ..Counts::default() });
    let none = Counts::default();
    let cases: [Case<'_>; 10] = [
        (
            Record::Echo { intended_ns: 100, tried_ns: 400, received_ns: 900 },
            &[("response", 800), ("service", 500)],
            &echo,
        ),
        (Record::ClosedEcho { tried_ns: 400, received_ns: 900 }, &[("service", 500)], &echo),
        (Record::Send { intended_ns: 100, tried_ns: 130 }, &[("send_lag", 30)], &none),
        (Record::Connect { started_ns: 5, echoed_ns: 17 }, &[("connect", 12)], &none),
        (Record::Status { due_ns: 7, received_ns: 30 }, &[("status_delivery", 23)], &status),
        (Record::Tick { due_ns: 7, emit_ns: 9 }, &[("status_emit_lag", 2)], &none),
        (Record::Spread { first_ns: 20, last_ns: 50 }, &[("status_spread", 30)], &none),
        (Record::Interference { in_fanout: true, response_ns: 11 }, &[("response_in_fanout", 11)], &none),
        (Record::Interference { in_fanout: false, response_ns: 11 }, &[("response_outside_fanout", 11)], &none),
        (Record::Light { response_ns: 11 }, &[("response_light", 11)], &none),
    ];
    for (record, times, counts) in cases {
        let mut tally = Tally::default();
        record.apply(&mut tally);
        assert_eq!((&recorded(&tally)[..], &tally.counts), (times, counts), "{record:?}");
    }
}

#[test]
fn a_time_that_runs_backwards_is_counted_and_not_recorded() {
    for (record, out_of_range, statuses_out_of_range) in [
        (Record::Echo { intended_ns: 9, tried_ns: 9, received_ns: 8 }, 2, 0),
        (Record::ClosedEcho { tried_ns: 9, received_ns: 8 }, 1, 0),
        (Record::Send { intended_ns: 9, tried_ns: 8 }, 1, 0),
        (Record::Connect { started_ns: 9, echoed_ns: 8 }, 1, 0),
        (Record::Status { due_ns: 9, received_ns: 8 }, 0, 1),
        (Record::Tick { due_ns: 9, emit_ns: 8 }, 0, 1),
    ] {
        let mut tally = Tally::default();
        for times in 1..=3 {
            record.apply(&mut tally);
            let counts = (tally.counts.out_of_range, tally.counts.statuses_out_of_range);
            assert_eq!(counts, (times * out_of_range, times * statuses_out_of_range), "{record:?}");
        }
        assert_eq!(recorded(&tally), []);
    }
}

#[test]
fn a_service_time_belongs_to_the_second_of_the_arrival_and_any_other_time_to_that_of_the_due_time() {
    let (first, second) = (600_000_000, 1_200_000_000);
    for (record, seconds) in [
        (Record::Echo { intended_ns: first, tried_ns: first, received_ns: second }, [[1, 0, 0, 0], [0, 1, 0, 0]]),
        (Record::ClosedEcho { tried_ns: first, received_ns: second }, [[0, 0, 0, 0], [0, 1, 0, 0]]),
        (Record::Send { intended_ns: first, tried_ns: second }, [[0, 0, 1, 0], [0, 0, 0, 0]]),
        (Record::Status { due_ns: first, received_ns: second }, [[0, 0, 0, 1], [0, 0, 0, 0]]),
    ] {
        let mut tally = Tally::new(0, 2);
        record.apply(&mut tally);
        assert_eq!(by_second(&tally), seconds, "{record:?}");
    }
}

#[test]
fn latency_counts_from_the_intended_time_and_service_from_the_attempt() {
    let mut tally = Tally::default();
    tally.record_echo(1_000, 4_000, 9_000);
    assert!(tally.response.equivalent(tally.response.max(), 8_000));
    assert!(tally.service.equivalent(tally.service.max(), 5_000));
    assert_eq!(tally.counts.echoed, 1);
}

#[test]
fn a_time_out_of_range_is_counted_and_never_clamped() {
    let mut tally = Tally::default();
    tally.record_echo(0, 0, 3 * HIGHEST_NS);
    tally.record_status(5, 4);
    assert_eq!((tally.response.len(), tally.status_delivery.len()), (0, 0));
    assert_eq!((tally.counts.out_of_range, tally.counts.statuses_out_of_range), (2, 1));
}

#[test]
fn a_response_belongs_to_the_second_in_which_it_was_intended() {
    let mut tally = Tally::new(500, 2);
    tally.record_echo(600, 600, 1_500_000_000);
    let counts = |second: &Second| (second.response.len(), second.service.len());
    assert_eq!(tally.seconds.iter().map(counts).collect::<Vec<_>>(), [(1, 0), (0, 1)]);
    // Before and after the window there is no second.
    tally.record_echo(1, 1, 2);
    tally.record_echo(3_000_000_000, 3_000_000_000, 3_000_000_001);
    assert_eq!(tally.seconds.iter().map(counts).collect::<Vec<_>>(), [(1, 0), (0, 1)]);
}

proptest! {
    // Few cases, since three tallies take some megabytes.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_tallies_of_two_threads_add_up_to_that_of_one(
        records in prop::collection::vec((record(), any::<bool>()), 0..60), start_ns in 0..1_000_000_000_u64,
    ) {
        let [mut alone, mut sum, mut part] = [(); 3].map(|()| Tally::new(start_ns, 3));
        for (record, on_first) in records {
            record.apply(&mut alone);
            record.apply(if on_first { &mut sum } else { &mut part });
        }
        sum.add(&part);
        prop_assert_eq!(&sum.counts, &alone.counts);
        prop_assert!(iter::zip(sum.histograms(), alone.histograms()).all(|(sum, alone)| sum == alone));
        prop_assert_eq!(by_second(&sum), by_second(&alone));
    }
}
