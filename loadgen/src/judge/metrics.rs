//! Every quantity that is derived from a row: one home, so that tables, verdicts and pictures mean the same.

use crate::{
    record::{Outcome, Row, Validity},
    stats::{SAMPLES_BEYOND, samples_beyond},
};

/// A quantity of a trial; `None` if it is unknown or not defined.
pub(crate) type Metric = fn(&Row) -> Option<f64>;

/// Whether an arm is a control: a server that runs a second time, `mio#2`.
pub(crate) fn is_control(arm: &str) -> bool {
    controlled(arm).is_some()
}

/// The arm that a control repeats.
pub(crate) fn controlled(arm: &str) -> Option<&str> {
    arm.split_once('#').map(|(first, _)| first)
}

/// The arms that are no controls.
pub(crate) fn contestants(arms: &[String]) -> Vec<String> {
    arms.iter().filter(|arm| !is_control(arm)).cloned().collect()
}

/// Whether the figures of a trial may be used: no gate found it invalid, and the server did what was asked.
pub(crate) fn is_usable(row: &Row) -> bool {
    row.validity != Validity::Invalid && row.outcome == Outcome::Ok
}

/// A count or a time as a number.
pub(crate) fn number(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

/// A quantile of the messages of the load window, in nanoseconds, if they define it: at least one lies beyond. Else it
/// would be the slowest message by another name.
pub(super) fn defined(row: &Row, at: Option<u64>, quantile: f64) -> Option<f64> {
    number(at).filter(|_| row.echoed_count.is_none_or(|echoed| samples_beyond(echoed, quantile) > 0))
}

/// Whether a quantile of the messages of these trials is used: at least 30 messages lie beyond those of its trials, taken
/// together. Trials that do not know their number are not held against it.
pub(crate) fn is_told(rows: &[&Row], quantile: f64) -> bool {
    let beyond = |row: &&Row| row.echoed_count.map_or(SAMPLES_BEYOND, |echoed| samples_beyond(echoed, quantile));
    rows.iter().map(beyond).sum::<u64>() >= SAMPLES_BEYOND
}

/// Median of the response, in nanoseconds.
pub(crate) fn response_p50(row: &Row) -> Option<f64> {
    defined(row, row.response_ns.p50, 0.5)
}

/// 90th percentile of the response, in nanoseconds.
pub(crate) fn response_p90(row: &Row) -> Option<f64> {
    defined(row, row.response_ns.p90, 0.9)
}

/// 95th percentile of the response, in nanoseconds.
pub(crate) fn response_p95(row: &Row) -> Option<f64> {
    defined(row, row.response_ns.p95, 0.95)
}

/// 99th percentile of the response, in nanoseconds.
pub(crate) fn response_p99(row: &Row) -> Option<f64> {
    defined(row, row.response_ns.p99, 0.99)
}

/// Median of the service time, in nanoseconds.
pub(crate) fn service_p50(row: &Row) -> Option<f64> {
    defined(row, row.service_ns.p50, 0.5)
}

/// 90th percentile of the service time, in nanoseconds.
pub(crate) fn service_p90(row: &Row) -> Option<f64> {
    defined(row, row.service_ns.p90, 0.9)
}

/// 95th percentile of the service time, in nanoseconds.
pub(crate) fn service_p95(row: &Row) -> Option<f64> {
    defined(row, row.service_ns.p95, 0.95)
}

/// 99th percentile of the service time, in nanoseconds.
pub(crate) fn service_p99(row: &Row) -> Option<f64> {
    defined(row, row.service_ns.p99, 0.99)
}

/// Mean of the send lag, in nanoseconds.
pub(crate) fn send_lag_mean(row: &Row) -> Option<f64> {
    number(row.send_lag_ns.mean)
}

/// 99th percentile of the send lag, in nanoseconds.
pub(crate) fn send_lag_p99(row: &Row) -> Option<f64> {
    defined(row, row.send_lag_ns.p99, 0.99)
}

/// CPU time of the server per message, in nanoseconds.
pub(crate) fn cpu_per_message_ns(row: &Row) -> Option<f64> {
    ratio(row.server_cpu_ns_load, row.echoed_count)
}

/// Share of the load window in which the server was runnable and did not run: the fault of others, or, if several of its
/// threads want one CPU, its own way of queueing. Several threads that wait at the same time add up.
pub(crate) fn server_run_delay_share(row: &Row) -> Option<f64> {
    ratio(row.server_run_delay_ns_load, row.load_span_ns)
}

/// CPU time of the server in the idle window, in microseconds per second.
pub(crate) fn idle_cpu_us_per_sec(row: &Row) -> Option<f64> {
    ratio(row.server_cpu_ns_idle, row.idle_span_ns).map(|share| share * 1e6)
}

/// CPU time of the server per tick of the idle window, in microseconds.
pub(crate) fn idle_cpu_us_per_tick(row: &Row) -> Option<f64> {
    ratio(row.server_cpu_ns_idle, row.ticks_idle_count).map(|ns| ns / 1e3)
}

/// Messages per second at which the server answers those that wait for it.
pub(crate) fn drain_rate_per_sec(row: &Row) -> Option<f64> {
    row.drain_rate_per_sec
}

/// Wake-ups of the server per second of the idle window.
pub(crate) fn idle_wakeups_per_sec(row: &Row) -> Option<f64> {
    ratio(row.server_wakeups_idle, row.idle_span_ns).map(|per_ns| per_ns * 1e9)
}

/// Wake-ups of the server per tick of the idle window: a slope over its two readings, so that what a window costs by itself
/// is no cost of a tick; without a second reading the quotient.
pub(crate) fn wakeups_per_tick(row: &Row) -> Option<f64> {
    match (row.server_wakeups_idle_part, row.ticks_idle_part_count) {
        (Some(wakeups), Some(ticks)) => {
            ratio(row.server_wakeups_idle?.checked_sub(wakeups), row.ticks_idle_count?.checked_sub(ticks))
        }
        _ => ratio(row.server_wakeups_idle, row.ticks_idle_count),
    }
}

/// Kernel memory of both sides that the connections cost, in bytes.
pub(crate) fn kernel_bytes(row: &Row) -> Option<f64> {
    Some((row.kernel_stack_bytes_delta? + row.slab_bytes_delta? + row.page_tables_bytes_delta?) as f64)
}

/// User memory of the server at the end of the idle window, in bytes; shared pages divided by their users.
pub(crate) fn user_bytes(row: &Row) -> Option<f64> {
    number(row.server_pss_bytes_idle)
}

/// Status lines that the server delivered per second of the idle window. The lines are counted in the window alone, hence its
/// length and not the time between the readings of the server's usage, which lie around it.
pub(crate) fn fan_out_per_sec(row: &Row) -> Option<f64> {
    Some(row.status_count_idle? as f64 * 1e3 / row.idle_ms.filter(|length| *length > 0.0)?)
}

/// CPU time of the server per status line that arrived in the idle window, in microseconds.
pub(crate) fn idle_cpu_us_per_status(row: &Row) -> Option<f64> {
    ratio(row.server_cpu_ns_idle, row.status_count_idle).map(|ns| ns / 1e3)
}

/// Whose throughput the closed loop shows: the share of a known delay per message in the generator that comes back in
/// the time per message. About 1 if the rate is the generator's, about 0 if it is the server's.
pub(crate) fn generator_share(row: &Row) -> Option<f64> {
    let ns_per_message = |rate: Option<f64>| rate.filter(|rate| *rate > 0.0).map(|rate| 1e9 / rate);
    let more_ns = ns_per_message(row.peak_rate_delayed_per_sec)? - ns_per_message(row.peak_rate_per_sec)?;
    // Each thread delays its own messages only, so all threads together have less of a delay per message.
    let delay_ns = number(row.peak_delay_ns.filter(|delay| *delay > 0))? / number(row.loadgen_threads)?.max(1.0);
    Some(more_ns / delay_ns)
}

fn ratio(of: Option<u64>, to: Option<u64>) -> Option<f64> {
    Some(of? as f64 / to.filter(|to| *to > 0)? as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Latency;

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
            service_ns: latency(20),
            send_lag_ns: latency(30),
            echoed_count: Some(1_000),
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
        let metrics: [(Metric, f64); 19] = [
            (response_p50, 11.0),
            (response_p90, 12.0),
            (response_p95, 13.0),
            (response_p99, 14.0),
            (service_p50, 21.0),
            (service_p90, 22.0),
            (service_p95, 23.0),
            (service_p99, 24.0),
            (send_lag_mean, 30.0),
            (send_lag_p99, 34.0),
            (cpu_per_message_ns, 250.0),
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
        assert_eq!(metrics.map(|(metric, _)| metric(&Row::default())), [None; 19], "nothing is known");
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
}
