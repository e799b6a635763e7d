use super::*;
use crate::record::{Latency, Misbehaving};

#[test]
fn every_metric_is_computed_from_its_own_columns() {
    let latency = |from: u64| Latency {
        mean: Some(from),
        p50: Some(from + 1),
        p90: Some(from + 2),
        p95: Some(from + 3),
        p99: Some(from + 4),
        ..Latency::default()
    };
    let row = Row {
        response_ns: latency(10),
        response_light_ns: latency(15),
        service_ns: latency(20),
        send_lag_ns: latency(30),
        echoed_count: Some(1_000),
        churn: Misbehaving { opened_count: Some(6), ..Misbehaving::default() },
        server_cpu_ns_load: Some(250_000),
        server_run_delay_ns_load: Some(7_000),
        load_span_ns: Some(1_000_000),
        server_cpu_ns_idle: Some(3_000_000),
        server_wakeups_idle: Some(20),
        idle_span_ns: Some(2_000_000_000),
        ticks_idle_count: Some(4),
        drain_rate_per_sec: Some(260_000.0),
        kernel_stack_bytes_delta: Some(1),
        slab_bytes_delta: Some(20),
        page_tables_bytes_delta: Some(-300),
        server_pss_bytes_idle: Some(4_096),
        ..Row::default()
    };
    let metrics: [(Metric, f64); 22] = [
        (response_p50, 11.0),
        (response_p90, 12.0),
        (response_p95, 13.0),
        (response_p99, 14.0),
        (light_p99, 19.0),
        (service_p50, 21.0),
        (service_p90, 22.0),
        (service_p95, 23.0),
        (service_p99, 24.0),
        (send_lag_mean, 30.0),
        (send_lag_p99, 34.0),
        (cpu_per_message_ns, 250.0),
        (opened_per_sec, 6_000.0),
        (load_cpu_ns_per_sec, 250e6),
        (server_run_delay_share, 0.007),
        (idle_cpu_us_per_sec, 1_500.0),
        (idle_cpu_us_per_tick, 750.0),
        (drain_rate_per_sec, 260_000.0),
        (idle_wakeups_per_sec, 10.0),
        (wakeups_per_tick, 5.0),
        (kernel_bytes, -279.0),
        (user_bytes, 4_096.0),
    ];
    assert_eq!(metrics.map(|(metric, _)| metric(&row)), metrics.map(|(_, expected)| Some(expected)));
    assert_eq!(metrics.map(|(metric, _)| metric(&Row::default())), [None; 22], "nothing is known");
}

#[test]
fn a_trial_is_usable_if_it_is_not_invalid_and_the_server_kept_up() {
    let usable = |validity, outcome| is_usable(&Row { validity, outcome, ..Row::default() });
    assert!(usable(Validity::Valid, Outcome::Ok) && usable(Validity::Flagged, Outcome::Ok));
    assert!(!usable(Validity::Invalid, Outcome::Ok));
    for outcome in [Outcome::Saturated, Outcome::Unclear, Outcome::Failed] {
        assert!(!usable(Validity::Valid, outcome), "{outcome:?}");
    }
}

#[test]
fn a_quantile_that_too_few_messages_define_is_not_told() {
    let row = |echoed: u64| {
        let response_ns = Latency { p50: Some(7), p99: Some(9), ..Latency::default() };
        Row { echoed_count: Some(echoed), response_ns, ..Row::default() }
    };
    assert_eq!((response_p99(&row(99)), response_p99(&row(100))), (None, Some(9.0)));
    assert_eq!([0, 1, 2].map(|echoed| response_p50(&row(echoed))), [None, None, Some(7.0)]);
}

#[test]
fn a_quantile_is_used_if_thirty_messages_of_all_trials_lie_beyond_it_and_not_with_29() {
    let is_told = |echoed: &[u64], quantile| {
        let rows: Vec<Row> =
            echoed.iter().map(|echoed| Row { echoed_count: Some(*echoed), ..Row::default() }).collect();
        is_told(&rows.iter().collect::<Vec<_>>(), quantile)
    };
    assert!(is_told(&[3_000], 0.99) && !is_told(&[2_999], 0.99), "2,999 have 29 beyond");
    assert!(is_told(&[100; 30], 0.99) && !is_told(&[100; 29], 0.99));
    // 30 trials of 199 have 5,970 messages, one percent of which is 59, but only one of each lies beyond its p99.
    assert!(is_told(&[199; 30], 0.99) && !is_told(&[199; 29], 0.99));
    assert!(!is_told(&[99; 1_000], 0.99), "no trial has a message beyond");
    assert!(is_told(&[300], 0.9) && !is_told(&[299], 0.9) && is_told(&[600], 0.95) && !is_told(&[599], 0.95));
    assert!(!is_told(&[], 0.5));
}

#[test]
fn what_nothing_divides_is_unknown() {
    let row = Row {
        server_cpu_ns_load: Some(1_000),
        echoed_count: Some(0),
        server_wakeups_idle: Some(3),
        ticks_idle_count: Some(0),
        ..Row::default()
    };
    assert_eq!((cpu_per_message_ns(&row), wakeups_per_tick(&row)), (None, None));
    let row = Row { echoed_count: Some(4), ticks_idle_count: Some(2), ..row };
    assert_eq!((cpu_per_message_ns(&row), wakeups_per_tick(&row)), (Some(250.0), Some(1.5)));
}

#[test]
fn the_idle_window_is_told_per_second() {
    let row = Row {
        server_cpu_ns_idle: Some(3_000_000),
        server_wakeups_idle: Some(20),
        idle_span_ns: Some(2_000_000_000),
        ..Row::default()
    };
    assert_eq!((idle_cpu_us_per_sec(&row), idle_wakeups_per_sec(&row)), (Some(1_500.0), Some(10.0)));
}

#[test]
fn wakeups_per_tick_are_a_slope_where_there_are_two_readings() {
    let row = Row {
        server_wakeups_idle: Some(33),
        ticks_idle_count: Some(15),
        server_wakeups_idle_part: Some(13),
        ticks_idle_part_count: Some(5),
        ..Row::default()
    };
    // Three wake-ups belong to the window and to no tick.
    assert_eq!(wakeups_per_tick(&row), Some(2.0));
    assert_eq!(wakeups_per_tick(&Row { ticks_idle_part_count: None, ..row.clone() }), Some(2.2));
    assert_eq!(wakeups_per_tick(&Row { server_wakeups_idle: None, ..row.clone() }), None, "a thread has exited");
    assert_eq!(wakeups_per_tick(&Row { ticks_idle_count: Some(5), ..row.clone() }), None, "no tick is left");
    assert_eq!(wakeups_per_tick(&Row { server_wakeups_idle: Some(12), ..row }), None, "a count that fell");
}

#[test]
fn ticks_are_told_by_what_is_delivered_and_what_it_costs() {
    let row = Row {
        server_cpu_ns_idle: Some(600_000),
        ticks_idle_count: Some(10),
        status_count_idle: Some(640),
        idle_ms: Some(2_000.0),
        idle_span_ns: Some(2_100_000_000),
        ..Row::default()
    };
    assert_eq!(fan_out_per_sec(&row), Some(320.0));
    assert_eq!((idle_cpu_us_per_tick(&row), idle_cpu_us_per_status(&row)), (Some(60.0), Some(0.9375)));
    let silent = Row { ticks_idle_count: Some(0), status_count_idle: Some(0), ..row.clone() };
    assert_eq!((idle_cpu_us_per_tick(&silent), idle_cpu_us_per_status(&silent)), (None, None));
    assert_eq!(fan_out_per_sec(&silent), Some(0.0));
    assert_eq!(fan_out_per_sec(&Row { idle_ms: Some(0.0), ..row }), None, "there was no window");
}

#[test]
fn the_generators_share_is_what_comes_back_of_its_delay() {
    // 10 us per message; with a delay of 500 ns 10.5 us, 10 us and 10.125 us.
    let share = |delayed_per_sec: f64, threads| {
        generator_share(&Row {
            peak_rate_per_sec: Some(100_000.0),
            peak_rate_delayed_per_sec: Some(delayed_per_sec),
            peak_delay_ns: Some(500),
            loadgen_threads: Some(threads),
            ..Row::default()
        })
    };
    let near = |share: Option<f64>, expected: f64| share.is_some_and(|share| (share - expected).abs() < 1e-9);
    assert!(near(share(1e9 / 10_500.0, 1), 1.0) && near(share(100_000.0, 1), 0.0));
    assert!(near(share(1e9 / 10_125.0, 1), 0.25) && near(share(1e9 / 10_125.0, 2), 0.5), "two threads share it");
    assert_eq!((share(0.0, 1), generator_share(&Row::default())), (None, None));
}

#[test]
fn a_server_that_runs_twice_is_a_control() {
    assert_eq!((controlled("mio#2"), controlled("mio")), (Some("mio"), None));
    let arms = ["mio", "tokio", "mio#2"].map(str::to_owned);
    assert_eq!(contestants(&arms), ["mio", "tokio"]);
}
