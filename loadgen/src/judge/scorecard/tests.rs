use super::*;
use crate::record::{BriefLatency, Latency, Outcome, Validity};

const BLOCKS: u64 = 12;

const NONE: &BTreeMap<String, u64> = &BTreeMap::new();

const UNCOUNTED: SourceLines<'static> = SourceLines { logic: NONE, regions: &BTreeMap::new() };

fn row(cell: &str, block: u64, arm: &str) -> Row {
    Row { cell: Some(cell.to_owned()), block, arm: arm.to_owned(), ..Row::default() }
}

/// The rows of mio in a cell, one per block.
fn cell(name: &str, of_block: impl Fn(u64, Row) -> Row) -> Vec<Row> {
    (1..=BLOCKS).map(|block| of_block(block, row(name, block, "mio"))).collect()
}

/// The scorecard of mio.
fn card(rows: &[Row]) -> Vec<RuleSection> {
    let logic = BTreeMap::from([("mio".to_owned(), 320)]);
    scorecard(rows, &["mio".to_owned()], &SourceLines { logic: &logic, regions: &BTreeMap::new() })
}

/// The outcome of the only rule that the rows have values for.
fn outcome(rows: &[Row]) -> RuleOutcome {
    // The lines of logic are known without a row.
    let card = scorecard(rows, &["mio".to_owned()], &UNCOUNTED);
    let [section] = &card[..] else { panic!("one section: {card:?}") };
    section.outcomes[0]
}

/// The values of mio in a section.
fn values(section: &RuleSection) -> Vec<RuleValue> {
    section.lines.iter().map(|line| line.values[0]).collect()
}

fn numbers(section: &RuleSection) -> Vec<f64> {
    let number = |value| match value {
        RuleValue::Number(number) => number,
        RuleValue::Count(count) => count as f64,
        RuleValue::Unknown | RuleValue::Interval(_) => f64::NAN,
    };
    values(section).into_iter().map(number).collect()
}

/// Twelve blocks in which tokio is slower than the floor by 3 us, and has two threads.
fn rows() -> Vec<Row> {
    let block = |block: u64| {
        let floor = |arm, us: u64| Row {
            response_ns: Latency { p50: Some(us * 1_000 + block), p99: Some(90_000), ..Latency::default() },
            echoed_count: Some(9_000),
            ..row("floor", block, arm)
        };
        let threads = |arm, count| Row { server_threads_max: Some(count), ..row("rate-50", block, arm) };
        [floor("mio", 20), floor("tokio", 23), floor(FLOOR, 20), threads("mio", 1), threads("tokio", 2)]
    };
    (1..=BLOCKS).flat_map(block).collect()
}

#[test]
fn a_rule_has_an_outcome_for_each_server() {
    let arms = ["mio".to_owned(), "tokio".to_owned()];
    let card = scorecard(&rows(), &arms, &UNCOUNTED);
    let expected = [RuleOutcome::Satisfied, RuleOutcome::Violated];
    assert_eq!(card[0].outcomes, expected, "one thread and two");
    assert!(matches!(card[1].rule, Rule::NoAddedLatency { .. }), "there are no values for rule 2: {card:?}");
    assert_eq!(card[1].outcomes, expected);
    let added = RuleValue::Interval(Estimate { estimate: 3.0, low: 3.0, high: 3.0 });
    assert_eq!(card[1].lines[0].values[1], added);
}

#[test]
fn a_session_without_its_cells_has_no_scorecard() {
    let rows: Vec<Row> =
        (1..=BLOCKS).map(|block| Row { cell: None, server_threads_max: Some(1), ..row("", block, "mio") }).collect();
    let told = card(&rows);
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_second_thread_in_any_block_violates_the_rule_of_a_single_thread() {
    let threads = |block, row| Row { server_threads_max: Some(if block == 7 { 2 } else { 1 }), ..row };
    let rows = cell("rate-50", threads);
    assert_eq!((outcome(&rows), numbers(&card(&rows)[0])), (RuleOutcome::Violated, vec![2.0]));
    assert_eq!(outcome(&rows[..6]), RuleOutcome::Satisfied);
}

/// CPU time and wake-ups of a server in an idle window of two seconds.
fn silent(row: Row, cpu_us: u64, wakeups: u64) -> Row {
    Row {
        server_cpu_ns_idle: Some(cpu_us * 1_000),
        server_wakeups_idle: Some(wakeups),
        idle_span_ns: Some(2_000_000_000),
        ..row
    }
}

#[test]
fn busy_waiting_is_more_than_a_thousandth_of_a_cpu_or_more_than_one_wakeup_per_second() {
    for (cpu_us, wakeups, expected) in [
        (2_000, 2, RuleOutcome::Satisfied),
        (2_001, 2, RuleOutcome::Violated),
        (2_000, 3, RuleOutcome::Violated),
        (2_001, 3, RuleOutcome::Violated),
        (0, 0, RuleOutcome::Satisfied),
    ] {
        let rows = cell("idle-100-silent", |_, row| silent(row, cpu_us, wakeups));
        assert_eq!(outcome(&rows), expected, "{cpu_us} us and {wakeups} wake-ups in two seconds");
    }
}

#[test]
fn a_rule_is_unclear_if_the_interval_contains_the_limit_or_a_value_is_unknown() {
    let around = |block: u64, limit: u64| if block.is_multiple_of(2) { limit + 100 } else { limit - 100 };
    let cpu = cell("idle-100-silent", |block, row| silent(row, around(block, 2_000), 0));
    assert_eq!(outcome(&cpu), RuleOutcome::Unclear);
    let from_the_limit = cell("idle-100-silent", |block, row| silent(row, 2_000 + block % 2 * 100, 0));
    assert_eq!(outcome(&from_the_limit), RuleOutcome::Unclear, "the lower end is the limit itself");
    let violated = cell("idle-100-silent", |block, row| silent(row, around(block, 2_000), 9));
    assert_eq!(outcome(&violated), RuleOutcome::Violated, "one of two conditions fails for certain");
    let unknown = cell("idle-100-silent", |_, row| Row { server_wakeups_idle: None, ..silent(row, 0, 0) });
    assert_eq!(outcome(&unknown), RuleOutcome::Unclear);
    assert_eq!(
        outcome(&cell("idle-100-silent", |_, row| silent(row, 0, 0))[..5]),
        RuleOutcome::Unclear,
        "too few blocks"
    );
}

#[test]
fn idle_values_come_from_the_cells_of_their_connections_and_statuses() {
    let cells = ["idle-0-silent", "idle-100-silent", "idle-1000-silent", "idle-0", "idle-100", "idle-1000"];
    let rows: Vec<Row> = (1..)
        .zip(cells)
        .flat_map(|(place, name)| {
            cell(name, |_, row| Row { ticks_idle_count: Some(2), ..silent(row, place * 200, place * 4) })
        })
        .collect();
    let per_second = [100.0, 2.0, 200.0, 4.0, 300.0, 6.0, 400.0, 8.0, 500.0, 10.0, 600.0, 12.0];
    let per_tick = [10.0];
    assert_eq!(numbers(&card(&rows)[0]), [&per_second[..], &per_tick].concat());
}

/// mio and the floor in twelve blocks: p50 of the floor is 20 us, p99 90 us.
fn beside_the_floor(added_ns: impl Fn(u64) -> u64, echoed: u64) -> Vec<Row> {
    let trial = |arm: &str, block: u64, added: u64| Row {
        response_ns: Latency { p50: Some(20_000 + added), p99: Some(90_000 + 2 * added), ..Latency::default() },
        echoed_count: Some(echoed),
        ..row("floor", block, arm)
    };
    (1..=BLOCKS).flat_map(|block| [trial("mio", block, added_ns(block)), trial(FLOOR, block, 0)]).collect()
}

#[test]
fn added_latency_is_a_tenth_of_the_floor_at_most() {
    assert_eq!(outcome(&beside_the_floor(|_| 2_000, 9_000)), RuleOutcome::Satisfied);
    assert_eq!(outcome(&beside_the_floor(|_| 2_001, 9_000)), RuleOutcome::Violated);
    assert_eq!(outcome(&beside_the_floor(|block| 1_500 + block % 2 * 1_000, 9_000)), RuleOutcome::Unclear);
    assert_eq!(outcome(&beside_the_floor(|block| 2_000 + block % 2 * 1_000, 9_000)), RuleOutcome::Unclear);
}

#[test]
fn the_added_p99_is_shown_if_enough_responses_define_it() {
    let interval = |us| RuleValue::Interval(Estimate { estimate: us, low: us, high: us });
    let enough = card(&beside_the_floor(|_| 1_500, 250));
    assert_eq!(values(&enough[0]), [interval(1.5), interval(3.0)]);
    let few = card(&beside_the_floor(|_| 1_500, 249));
    assert_eq!(values(&few[0]), [interval(1.5)]);
}

#[test]
fn added_latency_is_taken_from_the_blocks_in_which_both_servers_are_usable() {
    let mut rows = beside_the_floor(|block| if block == 3 { 900_000 } else { 1_000 }, 9_000);
    rows[4].outcome = Outcome::Saturated;
    assert_eq!(values(&card(&rows)[0])[0], RuleValue::Interval(Estimate { estimate: 1.0, low: 1.0, high: 1.0 }));
}

/// A trial of the cell `ticks` with these 99th percentiles of the lateness, idle and under load.
fn ticks(row: Row, idle_ns: u64, load_ns: u64, drift_ppb: i64) -> Row {
    Row {
        status_emit_lag_idle_ns: BriefLatency { p50: Some(50_000), p99: Some(idle_ns), max: Some(9_000_000) },
        status_emit_lag_ns: Latency {
            p50: Some(60_000),
            p99: Some(load_ns),
            max: Some(8_000_000),
            ..Latency::default()
        },
        tick_count_idle: Some(300),
        tick_count_load: Some(400),
        tick_jitter_ns_idle: Some(5_000),
        tick_jitter_ns_load: Some(6_000),
        tick_drift_ppb_idle: Some(7_000),
        tick_drift_ppb_load: Some(drift_ppb),
        ..row
    }
}

#[test]
fn ticks_may_be_late_by_2_ms_and_drift_by_100_ppm() {
    for (idle_ns, load_ns, drift_ppb, expected) in [
        (2_000_000, 2_000_000, 100_000, RuleOutcome::Satisfied),
        (2_000_001, 2_000_000, 100_000, RuleOutcome::Violated),
        (2_000_000, 2_000_001, 100_000, RuleOutcome::Violated),
        (2_000_000, 2_000_000, 100_001, RuleOutcome::Violated),
        (2_000_000, 2_000_000, -100_000, RuleOutcome::Satisfied),
        (2_000_000, 2_000_000, -100_001, RuleOutcome::Violated),
    ] {
        let rows = cell("ticks", |_, row| ticks(row, idle_ns, load_ns, drift_ppb));
        assert_eq!(outcome(&rows), expected, "late {idle_ns} and {load_ns} ns, drift {drift_ppb} ppb");
    }
}

#[test]
fn too_few_ticks_define_neither_a_p99_nor_an_outcome() {
    // 12 * 250 = 3,000 ticks are enough.
    let with = |idle: u64, load: u64| {
        cell("ticks", |_, row| Row {
            tick_count_idle: Some(idle),
            tick_count_load: Some(load),
            ..ticks(row, 1_000, 1_000, 0)
        })
    };
    assert_eq!(outcome(&with(250, 250)), RuleOutcome::Satisfied);
    assert_eq!(outcome(&with(249, 250)), RuleOutcome::Unclear);
    assert_eq!(outcome(&with(250, 249)), RuleOutcome::Unclear);
    let [idle_p99, load_p99] = [1, 4].map(|place| values(&card(&with(250, 249))[0])[place]);
    assert_eq!((idle_p99, load_p99), (RuleValue::Number(1.0), RuleValue::Unknown));
}

#[test]
fn lateness_jitter_and_drift_are_shown_in_microseconds_and_parts_per_million() {
    let mut rows = cell("ticks", |_, row| ticks(row, 70_000, 80_000, -8_000));
    (rows[5].status_emit_lag_idle_ns.max, rows[8].status_emit_lag_ns.max) = (Some(9_500_000), Some(8_700_000));
    let late = [50.0, 70.0, 9_500.0, 60.0, 80.0, 8_700.0];
    let (jitter, drift, count) = ([5.0, 6.0], [7.0, -8.0], [400.0]);
    assert_eq!(numbers(&card(&rows)[0]), [&late[..], &jitter, &drift, &count].concat());
}

/// The memory of a server and of the kernel, in bytes.
fn memory(row: Row, user: u64, kernel: i64) -> Row {
    Row {
        server_pss_bytes_idle: Some(user),
        kernel_stack_bytes_delta: Some(kernel - 300),
        slab_bytes_delta: Some(200),
        page_tables_bytes_delta: Some(100),
        ..row
    }
}

#[test]
fn memory_per_connection_is_the_slope_from_one_connection_to_the_largest_number() {
    let one = cell("connections-1", |_, row| memory(row, 1_000_000, 5_000));
    let thousand = cell("connections-1000", |_, row| memory(row, 1_000_000 + 999 * 2_000, 5_000 + 999 * 700));
    let rows = [&one[..], &thousand].concat();
    assert_eq!(numbers(&card(&rows)[0])[..3], [2_000.0, 700.0, 320.0]);
    let ten_thousand = cell("connections-10000", |_, row| memory(row, 1_000_000 + 9_999 * 1_500, 5_000 + 9_999 * 600));
    let rows = [rows, ten_thousand].concat();
    assert_eq!(numbers(&card(&rows)[0])[..3], [1_500.0, 600.0, 320.0]);
    assert_eq!(values(&card(&one)[0])[..2], [RuleValue::Unknown; 2]);
}

#[test]
fn the_lines_that_an_option_needs_stand_below_all_lines() {
    let of_mio = |lines: u64| BTreeMap::from([("mio".to_owned(), lines)]);
    let regions = BTreeMap::from([("handshake".to_owned(), of_mio(44)), ("idle timeout".to_owned(), BTreeMap::new())]);
    let lines = SourceLines { logic: &of_mio(320), regions: &regions };
    let rows = cell("rate-50", |_, row| Row { response_in_fanout_ns: Latency::default(), ..row });
    let card = scorecard(&rows, &["mio".to_owned()], &lines);
    let shown = card[0].lines.iter().filter(|line| line.name.contains("lines") || line.name.contains("of these"));
    let shown: Vec<(&str, RuleValue)> = shown.map(|line| (line.name.as_str(), line.values[0])).collect();
    assert_eq!(
        shown,
        [
            ("lines of logic", RuleValue::Count(320)),
            ("  of these for the handshake", RuleValue::Count(44)),
            ("  of these for the idle timeout", RuleValue::Unknown),
        ]
    );
}

#[test]
fn interference_is_shown_in_microseconds() {
    let p90 = |ns| Latency { p90: Some(ns), ..Latency::default() };
    let fanout = cell("rate-50", |_, row| Row {
        response_in_fanout_ns: p90(30_000),
        response_outside_fanout_ns: p90(20_000),
        ..row
    });
    let p99 = |ns| Latency { p99: Some(ns), ..Latency::default() };
    let stuck = |echoed: u64| {
        cell("stuck", |_, row| Row {
            response_ns: p99(40_000),
            response_undisturbed_ns: p99(35_000),
            echoed_count: Some(echoed),
            ..row
        })
    };
    let [_, _, _, rest @ ..] = &values(&card(&[&fanout[..], &stuck(250)].concat())[0])[..] else { panic!() };
    assert_eq!(rest, [30.0, 20.0, 40.0, 35.0].map(RuleValue::Number));
    let [.., disturbed, undisturbed] = values(&card(&[&fanout[..], &stuck(249)].concat())[0])[..] else { panic!() };
    assert_eq!([disturbed, undisturbed], [RuleValue::Unknown; 2], "too few responses define a p99");
}

#[test]
fn values_are_medians_over_the_trials_that_count_and_are_usable() {
    let mut rows = cell("idle-0", |block, row| silent(row, block * 2, 0));
    assert_eq!(numbers(&card(&rows)[0])[6], 6.5);
    rows[0].validity = Validity::Invalid;
    assert_eq!(numbers(&card(&rows)[0])[6], 7.0);
    rows[1].outcome = Outcome::Saturated;
    assert_eq!(numbers(&card(&rows)[0])[6], 7.5);
}

#[test]
fn two_conditions_hold_together_if_both_hold_and_fail_if_either_fails() {
    let (yes, no) = (Some(true), Some(false));
    for (one, other, expected) in
        [(yes, yes, yes), (yes, no, no), (no, no, no), (no, None, no), (yes, None, None), (None, None, None)]
    {
        assert_eq!((both(one, other), both(other, one)), (expected, expected), "{one:?} and {other:?}");
    }
}
