//! What a server reports when it exits.

use serde::{Deserialize, Serialize};

/// The counters a server prints on exit, as one JSON object on the last line of stderr.
///
/// They settle what a client cannot see: whether a status that never came was skipped, replaced or lost.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections accepted.
    pub accepts: u64,
    /// Bytes written back to the clients that sent them.
    pub bytes_echoed: u64,
    /// Ticks whose fan-out began.
    pub ticks: u64,
    /// Ticks passed over because a newer one was already due (B4).
    pub ticks_skipped: u64,
    /// Status lines written completely.
    pub statuses_sent: u64,
    /// Status lines that a newer one replaced before their first byte was written (B3).
    pub statuses_replaced: u64,
    /// Status lines still held when the connection ended (E3), or cut off by it.
    pub statuses_dropped_at_eof: u64,
    /// The most bytes that one connection held unsent in user space (F1).
    pub backlog_max_bytes: u64,
}

impl Counters {
    /// Adds what another part of the same server counted.
    pub fn merge(&mut self, other: &Self) {
        self.accepts += other.accepts;
        self.bytes_echoed += other.bytes_echoed;
        self.ticks += other.ticks;
        self.ticks_skipped += other.ticks_skipped;
        self.statuses_sent += other.statuses_sent;
        self.statuses_replaced += other.statuses_replaced;
        self.statuses_dropped_at_eof += other.statuses_dropped_at_eof;
        self.backlog_max_bytes = self.backlog_max_bytes.max(other.backlog_max_bytes);
    }
}
