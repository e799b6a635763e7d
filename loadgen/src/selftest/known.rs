//! Predictions of theory. Pure.

/// Quantile `quantile` of the response times in an open loop when the server stands still for `stall_ns` every
/// `period_ns` and is otherwise busy for the share `utilisation`.
///
/// Of the messages of a period those wait that are intended during the stall, and those behind them until the server has
/// caught up: that takes stall / (1 - utilisation) in all, while the wait falls evenly from the stall to nothing. So the
/// share p of all messages waits longer than stall - p (1 - utilisation) period.
pub(super) fn stalled_ns(stall_ns: f64, period_ns: f64, utilisation: f64, quantile: f64) -> f64 {
    stall_ns - (1.0 - quantile) * (1.0 - utilisation) * period_ns
}

/// Mean wait in a queue with Poisson arrivals (Pollaczek and Khinchine): `rate` per nanosecond, mean and mean square of
/// the service time in nanoseconds.
pub(super) fn queueing_ns(rate: f64, service_ns: f64, service_square_ns2: f64) -> f64 {
    rate * service_square_ns2 / (2.0 * (1.0 - rate * service_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_those_of_the_textbook() {
        // M/M/1 at half load: the mean wait is one service time; M/D/1: half of one.
        assert!((queueing_ns(0.005, 100.0, 2.0 * 100.0 * 100.0) - 100.0).abs() < 1e-9);
        assert!((queueing_ns(0.005, 100.0, 100.0 * 100.0) - 50.0).abs() < 1e-9);
    }
}
