//! Whose the throughput of a closed loop is.

use crate::{judge::metrics::generator_share, record::Row};

/// Up to this share of a delay in the generator a rate counts as the server's, and beyond it as one that follows the
/// generator: half-way between the two. Single trials are noisy, the more so the slower the pair is, since the delay is a
/// smaller part of a message's time then: so neither is said unless the whole interval is on one side.
const LIMIT: f64 = 0.5;

/// Half of a 95 % interval in standard errors, of the difference of two means of four windows each: Student's t with six
/// degrees of freedom.
const HALF_95: f64 = 2.447;

/// Whose it is, as the perturbation test of a trial says: a phrase that follows the rate. `rates_per_sec` are those of the
/// windows without and with a delay.
pub(in crate::report) fn owner(row: &Row, rates_per_sec: &[Vec<f64>; 2]) -> String {
    const PAIR: &str = "of server and generator together";
    let change = row.peak_rate_delayed_per_sec.zip(row.peak_rate_per_sec).map(|(delayed, plain)| delayed / plain - 1.0);
    let (Some(share), Some(change), Some(delay_ns)) = (generator_share(row), change, row.peak_delay_ns) else {
        return PAIR.to_owned();
    };
    // Without a zero that has a sign.
    let percent = (change * 100.0).round() + 0.0;
    let found = format!("({} us more per message: {percent} %)", delay_ns as f64 / 1e3);
    let threads = row.loadgen_threads.unwrap_or(1) as f64;
    match half_width_ns(rates_per_sec).map(|ns| ns * threads / delay_ns as f64) {
        Some(half) if share + half < LIMIT => format!("of the server {found}"),
        Some(half) if share - half > LIMIT => format!("{PAIR}: it follows the generator {found}"),
        _ => format!("{PAIR} {found}"),
    }
}

/// Half of the 95 % interval of the difference between the two times per message; `None` if a signal came between.
fn half_width_ns(rates_per_sec: &[Vec<f64>; 2]) -> Option<f64> {
    /// Of each kind.
    const WINDOWS: usize = 4;
    let square_error = |rates: &Vec<f64>| {
        let times: Vec<f64> = rates.iter().filter(|rate| **rate > 0.0).map(|rate| 1e9 / rate).collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let squares = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>();
        (times.len() == WINDOWS).then(|| squares / ((WINDOWS - 1) * WINDOWS) as f64)
    };
    let [plain, delayed] = rates_per_sec.each_ref().map(square_error);
    Some(HALF_95 * (plain? + delayed?).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: &str = "of server and generator together";

    /// What is said of 6.5 us per message and so many nanoseconds more with a delay of 0.5 us, if the windows of each kind
    /// are so far apart.
    fn said(more_ns: f64, spread_ns: f64) -> String {
        let rates = |mean_ns: f64| [-1.0, -0.5, 0.5, 1.0].map(|at| 1e9 / (mean_ns + at * spread_ns)).to_vec();
        let row = Row {
            peak_rate_per_sec: Some(1e9 / 6_500.0),
            peak_rate_delayed_per_sec: Some(1e9 / (6_500.0 + more_ns)),
            peak_delay_ns: Some(500),
            loadgen_threads: Some(1),
            ..Row::default()
        };
        owner(&row, &[rates(6_500.0), rates(6_500.0 + more_ns)])
    }

    #[test]
    fn a_rate_that_follows_the_generator_is_not_called_the_servers() {
        let follows = format!("{PAIR}: it follows the generator (0.5 us more per message: -7 %)");
        assert_eq!(said(500.0, 50.0), follows);
        assert_eq!(said(20.0, 50.0), "of the server (0.5 us more per message: 0 %)");
        assert_eq!(said(-100.0, 50.0), "of the server (0.5 us more per message: 2 %)");
    }

    #[test]
    fn what_is_not_certain_is_of_both() {
        assert_eq!(said(240.0, 50.0), format!("{PAIR} (0.5 us more per message: -4 %)"), "half-way");
        assert_eq!(said(500.0, 300.0), format!("{PAIR} (0.5 us more per message: -7 %)"), "noise");
        assert_eq!(said(20.0, 300.0), format!("{PAIR} (0.5 us more per message: 0 %)"), "noise");
        let one_kind = Row { peak_rate_per_sec: Some(1e5), ..Row::default() };
        assert_eq!(owner(&one_kind, &[vec![1e5], Vec::new()]), PAIR, "a signal came");
    }

    #[test]
    fn the_interval_of_a_difference_is_that_of_students_t() {
        // Variance 1 of each kind, so that of a mean of four is 1/4.
        let rates = [-1.0, -1.0, 1.0, 1.0].map(|at: f64| 1e9 / (1_000.0 + at * 0.75_f64.sqrt())).to_vec();
        let half = half_width_ns(&[rates.clone(), rates.clone()]).unwrap();
        assert!((half - 2.447 * 0.5_f64.sqrt()).abs() < 1e-6, "{half}");
        assert_eq!(half_width_ns(&[rates, vec![0.0; 4]]), None, "a window without an echo");
    }
}
