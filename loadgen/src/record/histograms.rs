//! Distributions: latency.hlog, quantiles.csv and windows.csv.

use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};

use crate::stats::is_told;

/// Samples that must lie beyond a quantile for it to stand on its own.
const ELIGIBLE: f64 = 100.0;

/// Significant digits of histograms that are read for their shape only: a fifth of the size.
const COARSE_DIGITS: u8 = 2;

/// The distributions of a load window.
#[derive(Clone, Debug, Default)]
pub struct Series<'a> {
    /// Every metric that has a value.
    pub distributions: Vec<Distribution<'a>>,
    /// The same for each second, for the metrics that are recorded by the second.
    pub seconds: Vec<Second<'a>>,
    /// Length of the window with its drain.
    pub length: Duration,
}

/// The values of one metric, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Distribution<'a> {
    /// Name of the metric.
    pub metric: String,
    /// Values of the metric.
    pub histogram: &'a Histogram<u64>,
    /// Whether the log keeps three significant digits instead of two.
    pub is_fine: bool,
}

/// One second of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Second<'a> {
    /// Counted from 0.
    pub second: usize,
    /// Name of the metric.
    pub metric: &'static str,
    /// Values of the metric, in nanoseconds.
    pub histogram: &'a Histogram<u64>,
}

/// The columns of windows.csv.
pub(super) const SECONDS_HEADER: &str = "trial_id,second,metric,count,p50_ns,p99_ns,max_ns\n";

/// The columns of quantiles.csv.
pub(super) const QUANTILES_HEADER: &str = "trial_id,metric,quantile,value_ns,eligible\n";

/// The lines of windows.csv for one window.
pub(super) fn second_lines(trial_id: u64, series: &Series<'_>) -> Result<Vec<u8>> {
    let mut csv = table();
    for Second { second, metric, histogram } in series.seconds.iter().filter(|second| !second.histogram.is_empty()) {
        let [p50_ns, p99_ns] = [0.5, 0.99].map(|quantile| histogram.value_at_quantile(quantile));
        csv.serialize((trial_id, second, metric, histogram.len(), p50_ns, p99_ns, histogram.max()))?;
    }
    Ok(csv.into_inner()?)
}

/// The lines of quantiles.csv for one window.
pub(super) fn quantile_lines(trial_id: u64, series: &Series<'_>) -> Result<Vec<u8>> {
    let mut csv = table();
    for Distribution { metric, histogram, .. } in &series.distributions {
        for line in quantiles(histogram) {
            csv.serialize((trial_id, metric, line.quantile, line.value_ns, line.eligible))?;
        }
    }
    Ok(csv.into_inner()?)
}

fn table() -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new())
}

/// A quantile of one metric.
#[derive(Debug)]
struct Quantile {
    quantile: f64,
    value_ns: u64,
    eligible: bool,
}

/// The quantiles with enough samples beyond them, evenly spaced in nines.
fn quantiles(histogram: &Histogram<u64>) -> Vec<Quantile> {
    let beyond = |quantile: f64| histogram.len() as f64 * (1.0 - quantile);
    // Three times ten to the n and ten to the n, and four steps in between: 0, 0.1 ... 0.9, 0.91 ... 0.99, 0.991 ...
    let steps = (0..5).flat_map(|nines| (0..9).map(move |step| 1.0 - (10 - step) as f64 * 0.1_f64.powi(nines + 1)));
    let mut all: Vec<f64> = steps.collect();
    all.push(0.99999);
    all.into_iter()
        // 0.3 is written, not its binary approximation 0.30000000000000004.
        .map(|quantile| (quantile * 1e6).round() / 1e6)
        .filter(|quantile| !histogram.is_empty() && is_told(histogram.len(), *quantile))
        .map(|quantile| Quantile {
            quantile,
            value_ns: histogram.value_at_quantile(quantile),
            eligible: beyond(quantile) >= ELIGIBLE,
        })
        .collect()
}

/// The lines of the interval log (HdrHistogram log format 1.3) for one window, without header.
pub(super) fn log_lines(trial_id: u64, series: &Series<'_>, start: Duration) -> Result<String> {
    let mut lines = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    {
        let mut writer = IntervalLogWriterBuilder::new()
            // Readers expect nanoseconds and show the maximum in milliseconds.
            .with_max_value_divisor(1e6)
            .begin_log_with(&mut lines, &mut serializer)?;
        for Distribution { metric, histogram, is_fine } in &series.distributions {
            let name = format!("{trial_id}.{metric}");
            let tag = Tag::new(&name).context("a tag has no space and no comma")?;
            let coarse = if *is_fine { None } else { Some(coarsen(histogram)?) };
            let kept = coarse.as_ref().unwrap_or(histogram);
            let written = writer.write_histogram(kept, start, series.length, Some(tag));
            written.map_err(|error| anyhow::anyhow!("cannot serialise a histogram: {error:?}"))?;
        }
    }
    let lines = String::from_utf8(lines)?;
    Ok(lines.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect())
}

/// The header of the log.
pub(super) fn log_header(started_unix_ms: u64) -> String {
    let seconds = started_unix_ms as f64 / 1e3;
    format!(
        "#[loadgen: one line for each trial and metric, tagged TRIAL.METRIC, values in nanoseconds]\n\
         #[Histogram log format version 1.3]\n\
         #[StartTime: {seconds:.3} (seconds since epoch)]\n\
         #[MaxValueDivisor: 1000000.000]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"
    )
}

fn coarsen(histogram: &Histogram<u64>) -> Result<Histogram<u64>> {
    let mut coarse = Histogram::new_with_bounds(histogram.low(), histogram.high(), COARSE_DIGITS)?;
    coarse.add(histogram).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok(coarse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_quantiles_with_enough_samples_beyond_them_are_written() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        (1..=10_000).for_each(|value| histogram.record(value).unwrap());
        let quantiles = quantiles(&histogram);
        let find = |wanted: f64| quantiles.iter().find(|quantile| quantile.quantile == wanted);
        assert!(find(0.5).is_some_and(|median| median.eligible && median.value_ns.abs_diff(5_000) <= 5));
        assert!(find(0.99).is_some_and(|quantile| quantile.eligible));
        assert!(find(0.995).is_some_and(|quantile| !quantile.eligible));
        assert!(find(0.999).is_none());
        assert!(quantiles.is_sorted_by_key(|quantile| quantile.quantile));
    }

    #[test]
    fn coarser_histograms_keep_their_counts() {
        let mut fine = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
        (1..=1_000).for_each(|value| fine.record(value * 1_000).unwrap());
        let coarse = coarsen(&fine).unwrap();
        assert_eq!(coarse.len(), 1_000);
        assert!(coarse.value_at_quantile(0.5).abs_diff(500_000) <= 5_000);
    }
}
