//! The names of a session's files, and the version of what is in them.

/// Version of the columns, of the words in them and of session.json. It is raised when one of these is renamed, changes its
/// meaning or gets a word that older readers do not know; columns are added without.
///
/// 1. November 2026.
/// 2. November 2026: `valid` became `validity`, `canary_*` became `drift_probe_*`, `under_way_ns` became `in_flight_ns` and
///    `short_count` became `host_shortage_count`; reasons and flags became words with amounts; session.json got `limits`.
/// 3. November 2026: `bound_by` went, since `peak_rate_delayed_per_sec` shows what it guessed; `foreign_cpu_ns` and
///    `steal_ns` count the CPUs in use alone; the drift probe is compared with the median of the probes, no longer with the
///    best; `response_in_fanout_ns` is of a fixed span after each tick.
pub const SCHEMA_VERSION: u64 = 3;

/// [`SCHEMA_VERSION`] as it is written.
pub(super) const SCHEMA: &str = "3";

/// What was measured, by which build, on which host.
pub const METADATA: &str = "session.json";

/// A row per trial.
pub const TRIALS: &str = "trials.csv";

/// The quantiles of each distribution.
pub(super) const QUANTILES: &str = "quantiles.csv";

/// The distributions by the second.
pub(super) const WINDOWS: &str = "windows.csv";

/// The histograms, as an interval log.
pub(super) const LOG: &str = "latency.hlog";

/// The files that every trial appends to. The one that makes it a trial comes last: a trial with a row there has everything.
pub(super) const GROWING: [&str; 4] = [LOG, QUANTILES, WINDOWS, TRIALS];

/// Why a session of another schema is refused.
pub(super) fn other_schema(version: u64) -> String {
    format!(
        "it was recorded in schema {version}, and this loadgen reads schema {SCHEMA_VERSION}: use the loadgen that recorded it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_written_as_it_is_read() {
        assert_eq!(SCHEMA.parse(), Ok(SCHEMA_VERSION));
    }
}
