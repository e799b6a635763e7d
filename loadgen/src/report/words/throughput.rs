//! Whose the throughput of a closed loop is.

use crate::{judge::metrics::generator_share, record::Row};

/// Up to this share of a delay in the generator a rate counts as the server's, and from [`PAIR_SHARE`] on as one that
/// follows the generator. In between, and far below 0, it is noise or a little of both.
const SERVER_SHARE: f64 = 0.25;

/// See [`SERVER_SHARE`].
const PAIR_SHARE: f64 = 0.5;

/// Whose it is, as the perturbation test of a trial says: a phrase that follows the rate.
pub(in crate::report) fn owner(row: &Row) -> String {
    const PAIR: &str = "of server and generator together";
    let change = row.peak_rate_delayed_per_sec.zip(row.peak_rate_per_sec).map(|(delayed, plain)| delayed / plain - 1.0);
    let (Some(share), Some(change), Some(delay_ns)) = (generator_share(row), change, row.peak_delay_ns) else {
        return PAIR.to_owned();
    };
    // Without a zero that has a sign.
    let percent = (change * 100.0).round() + 0.0;
    let found = format!("({} us more per message: {percent} %)", delay_ns as f64 / 1e3);
    match share {
        share if share.abs() <= SERVER_SHARE => format!("of the server {found}"),
        share if share >= PAIR_SHARE => format!("{PAIR}: it follows the generator {found}"),
        _ => format!("{PAIR} {found}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_follows_the_generator_is_not_called_the_servers() {
        // 6.5 us per message, with 0.5 us more in the generator.
        let said = |more_ns: f64| {
            owner(&Row {
                peak_rate_per_sec: Some(1e9 / 6_500.0),
                peak_rate_delayed_per_sec: Some(1e9 / (6_500.0 + more_ns)),
                peak_delay_ns: Some(500),
                loadgen_threads: Some(1),
                ..Row::default()
            })
        };
        let pair = "of server and generator together";
        assert_eq!(said(500.0), format!("{pair}: it follows the generator (0.5 us more per message: -7 %)"));
        assert_eq!(said(200.0), format!("{pair} (0.5 us more per message: -3 %)"));
        assert_eq!(said(20.0), "of the server (0.5 us more per message: 0 %)");
        assert_eq!(said(-100.0), "of the server (0.5 us more per message: 2 %)");
        assert_eq!(said(-400.0), format!("{pair} (0.5 us more per message: 7 %)"), "that is only noise");
        assert_eq!(owner(&Row { peak_rate_per_sec: Some(1e5), ..Row::default() }), pair, "a signal came");
    }
}
