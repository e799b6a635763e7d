//! What a server reports when it exits.

use serde::{Deserialize, Serialize};

/// The counters a server prints on exit, as one JSON object on the last line of stderr.
///
/// They tell what a client cannot see: whether a missing status was skipped, replaced or lost.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections accepted, those without a successful handshake included.
    pub accepts: u64,
    /// Bytes echoed.
    pub bytes_echoed: u64,
    /// Ticks whose fan-out began.
    pub ticks: u64,
    /// Ticks skipped because a newer one was already due (B4).
    pub ticks_skipped: u64,
    /// Status lines written completely.
    pub statuses_sent: u64,
    /// Status lines that a newer one replaced before their first byte was written (B3).
    pub statuses_replaced: u64,
    /// Status lines still held when the connection ended (E3), or cut off by its end.
    pub statuses_dropped_at_eof: u64,
    /// The largest number of unsent bytes that one connection held in user space (F1).
    pub backlog_max_bytes: u64,
    /// Connections closed for a wrong answer, or none, in the handshake (H5).
    #[serde(default)]
    pub handshakes_failed: u64,
    /// Connections closed because the handshake took too long (H6).
    #[serde(default)]
    pub handshakes_timed_out: u64,
    /// Connections closed because the client was silent for too long (T1).
    #[serde(default)]
    pub idle_timeouts: u64,
}

impl Counters {
    /// Adds the counters of another part of the same server.
    pub fn merge(&mut self, other: &Self) {
        self.accepts += other.accepts;
        self.bytes_echoed += other.bytes_echoed;
        self.ticks += other.ticks;
        self.ticks_skipped += other.ticks_skipped;
        self.statuses_sent += other.statuses_sent;
        self.statuses_replaced += other.statuses_replaced;
        self.statuses_dropped_at_eof += other.statuses_dropped_at_eof;
        self.backlog_max_bytes = self.backlog_max_bytes.max(other.backlog_max_bytes);
        self.handshakes_failed += other.handshakes_failed;
        self.handshakes_timed_out += other.handshakes_timed_out;
        self.idle_timeouts += other.idle_timeouts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_two_parts_add_up_and_the_larger_backlog_is_kept() {
        let one = Counters {
            accepts: 1,
            bytes_echoed: 20,
            ticks: 300,
            ticks_skipped: 4_000,
            statuses_sent: 50_000,
            statuses_replaced: 600_000,
            statuses_dropped_at_eof: 7_000_000,
            backlog_max_bytes: 80,
            handshakes_failed: 1,
            handshakes_timed_out: 20,
            idle_timeouts: 300,
        };
        let other = Counters {
            accepts: 2,
            bytes_echoed: 30,
            ticks: 400,
            ticks_skipped: 5_000,
            statuses_sent: 10_000,
            statuses_replaced: 200_000,
            statuses_dropped_at_eof: 1_000_000,
            backlog_max_bytes: 90,
            handshakes_failed: 2,
            handshakes_timed_out: 30,
            idle_timeouts: 400,
        };
        let both = Counters {
            accepts: 3,
            bytes_echoed: 50,
            ticks: 700,
            ticks_skipped: 9_000,
            statuses_sent: 60_000,
            statuses_replaced: 800_000,
            statuses_dropped_at_eof: 8_000_000,
            backlog_max_bytes: 90,
            handshakes_failed: 3,
            handshakes_timed_out: 50,
            idle_timeouts: 700,
        };
        for (mut sum, part) in [(one.clone(), &other), (other.clone(), &one)] {
            sum.merge(part);
            assert_eq!(sum, both);
        }
    }
}
