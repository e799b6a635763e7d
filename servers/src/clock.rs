//! The clock of the protocol: CLOCK_MONOTONIC in nanoseconds, which client and server of one host share.

use rustix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC now, in nanoseconds (clock_gettime(2)).
///
/// [`std::time::Instant`] reads the same clock but does not show its value.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Both parts are non-negative for this clock, and 2^64 ns are 584 years of uptime.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
