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
/// 4. November 2026: `placement` may be `hosts`, and there are reasons about generators on other hosts.
pub const SCHEMA_VERSION: u64 = 4;

/// The schemas that are read: those of which the current one only has further words.
pub(super) const READ: std::ops::RangeInclusive<u64> = 3..=SCHEMA_VERSION;

/// [`SCHEMA_VERSION`] as it is written.
pub(super) const SCHEMA: &str = "4";

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

/// A row per trial and generator on another host; only of a session with such generators, as are the following.
pub(super) const HOSTS: &str = "hosts.csv";

/// Where each of them has a folder.
pub(super) const HOSTS_FOLDER: &str = "hosts";

/// What it said of itself.
pub(super) const HOST_FACTS: &str = "environment.json";

/// Why a session of another schema is refused.
pub(super) fn other_schema(version: u64) -> String {
    format!(
        "it was recorded in schema {version}, and this loadgen reads schemas {} to {}: use the loadgen that recorded it",
        READ.start(),
        READ.end()
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
