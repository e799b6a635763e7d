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

/// 99th percentile of the response of those messages that cost no more than most, in nanoseconds; only where some cost
/// more. They are nearly all.
pub(crate) fn light_p99(row: &Row) -> Option<f64> {
    defined(row, row.response_light_ns.p99, 0.99)
}

/// Whether some messages of a trial cost more than most.
pub(crate) fn has_light(row: &Row) -> bool {
    row.response_light_ns.p50.is_some()
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

/// Connections of the churn per second of the load window.
pub(crate) fn opened_per_sec(row: &Row) -> Option<f64> {
    ratio(row.churn.opened_count, row.load_span_ns).map(|per_ns| per_ns * 1e9)
}

/// CPU time of the server per second of the load window, in nanoseconds.
pub(crate) fn load_cpu_ns_per_sec(row: &Row) -> Option<f64> {
    ratio(row.server_cpu_ns_load, row.load_span_ns).map(|share| share * 1e9)
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
mod tests;
