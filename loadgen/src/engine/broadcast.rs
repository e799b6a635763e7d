//! The ticks that clients receive: when each arrived on how many connections, and which are missing. Pure.

use std::{mem, ops::Range};

use protocol::status::Status;
use serde::{Deserialize, Serialize};

use crate::hosts::ClockMap;

/// Ticks and gaps kept per trial: more than a quarter of an hour at the shortest interval. The limit keeps a server that
/// makes up numbers from filling the memory.
const KEPT_MAX: usize = 100_000;

/// How many of the newest ticks a late one is compared with.
const RECENT: usize = 100;

/// A tick, and its arrivals on all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReceivedTick {
    pub(crate) number: u64,
    /// When it was due, in nanoseconds of CLOCK_MONOTONIC.
    pub(crate) due_ns: u64,
    /// When its fan-out began.
    pub(crate) emit_ns: u64,
    /// When it arrived on the first connection.
    pub(crate) first_ns: u64,
    /// When it arrived on the last connection.
    pub(crate) last_ns: u64,
    /// Number of connections that received it.
    pub(crate) recipients: u64,
}

impl ReceivedTick {
    /// The same by this host's clock, if its times are by the other one.
    pub(super) fn here(self, clock: &ClockMap) -> Self {
        Self {
            due_ns: clock.here(self.due_ns),
            emit_ns: clock.here(self.emit_ns),
            first_ns: clock.here(self.first_ns),
            last_ns: clock.here(self.last_ns),
            ..self
        }
    }

    /// Adds the arrivals that another thread saw.
    fn merge(&mut self, other: &Self) {
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
        self.recipients += other.recipients;
    }
}

/// The place of a status line among those of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusOrder {
    /// A newer tick than the last one.
    Next,
    /// The same tick again.
    Duplicate,
    /// An older tick than the last one.
    Reordered,
}

/// The ticks that the connections of one thread received, in order, and the gaps between them.
#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    ticks: Vec<ReceivedTick>,
    /// Numbers that a connection skipped.
    gaps: Vec<Range<u64>>,
    /// Where the ticks begin that the last batch did not contain.
    taken: usize,
}

impl Broadcasts {
    /// A status arrived on a connection whose newest tick so far is `last` (0 for none).
    pub(crate) fn receive(&mut self, status: &Status, last: &mut u64, now_ns: u64) -> StatusOrder {
        let order = match *last {
            last if status.tick == last => return StatusOrder::Duplicate,
            last if status.tick < last => return StatusOrder::Reordered,
            // A new connection has missed nothing: it was not open before.
            0 => StatusOrder::Next,
            last => {
                if status.tick > last + 1 && self.gaps.len() < KEPT_MAX {
                    self.gaps.push(last + 1..status.tick);
                }
                StatusOrder::Next
            }
        };
        *last = status.tick;
        self.note(status, now_ns);
        order
    }

    fn note(&mut self, status: &Status, now_ns: u64) {
        let (number, due_ns, emit_ns) = (status.tick, status.due_ns, status.emit_ns);
        let seen = ReceivedTick { number, due_ns, emit_ns, first_ns: now_ns, last_ns: now_ns, recipients: 1 };
        let recent = self.ticks.len().saturating_sub(RECENT);
        // Nearly always the newest one matches.
        match self.ticks[recent..].iter().rposition(|tick| tick.number <= number) {
            Some(index) if self.ticks[recent + index].number == number => self.ticks[recent + index].merge(&seen),
            found if self.ticks.len() < KEPT_MAX => {
                self.ticks.insert(recent + found.map_or(0, |index| index + 1), seen);
            }
            _ => {}
        }
    }

    /// The tick of the highest number.
    pub(crate) fn newest(&self) -> Option<&ReceivedTick> {
        self.ticks.last()
    }

    /// The ticks that arrived since this was last called, and the gaps found since.
    pub(crate) fn take_batch(&mut self) -> TickBatch {
        let ticks = self.ticks.split_off(self.taken.min(self.ticks.len()));
        // The last one is kept: late arrivals of it are no new tick in the next window.
        self.ticks.extend(ticks.last());
        self.taken = self.ticks.len();
        TickBatch { ticks, gaps: mem::take(&mut self.gaps) }
    }
}

/// The ticks and gaps of one thread in one window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TickBatch {
    pub(crate) ticks: Vec<ReceivedTick>,
    pub(crate) gaps: Vec<Range<u64>>,
}

/// The ticks of several threads, each tick once, in order.
pub(crate) fn merged<'a>(batches: impl IntoIterator<Item = &'a TickBatch>) -> Vec<ReceivedTick> {
    let mut all: Vec<ReceivedTick> = batches.into_iter().flat_map(|batch| batch.ticks.iter().copied()).collect();
    all.sort_by_key(|tick| tick.number);
    all.dedup_by(|later, kept| {
        let same = later.number == kept.number;
        if same {
            kept.merge(later);
        }
        same
    });
    all
}

/// How many statuses are missing: numbers in a connection's gap that another connection received (`seen`, in order). A
/// number that no connection received was skipped by the server (B4).
pub(crate) fn missed(gaps: impl Iterator<Item = Range<u64>>, seen: &[u64]) -> u64 {
    let within = |gap: Range<u64>| {
        seen.partition_point(|number| *number < gap.end) - seen.partition_point(|number| *number < gap.start)
    };
    gaps.map(|gap| within(gap) as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(tick: u64) -> Status {
        Status { active: 2, tick, due_ns: tick * 1_000, emit_ns: tick * 1_000 + 5 }
    }

    #[test]
    fn duplicates_and_older_ticks_are_distinguished_from_new_ones() {
        let (mut broadcasts, mut last) = (Broadcasts::default(), 0);
        let mut receive = |tick| broadcasts.receive(&status(tick), &mut last, 1);
        assert_eq!([7, 8, 8, 7, 9].map(&mut receive), {
            use StatusOrder::{Duplicate, Next, Reordered};
            [Next, Next, Duplicate, Reordered, Next]
        });
    }

    #[test]
    fn a_tick_that_only_other_connections_received_is_missed_and_one_that_none_received_was_skipped() {
        let mut broadcasts = Broadcasts::default();
        let (mut complete, mut incomplete) = (0, 0);
        // No connection receives 4.
        for tick in [1, 2, 3, 5] {
            broadcasts.receive(&status(tick), &mut complete, 10);
        }
        for tick in [1, 5] {
            broadcasts.receive(&status(tick), &mut incomplete, 20);
        }
        let batch = broadcasts.take_batch();
        let seen: Vec<u64> = batch.ticks.iter().map(|tick| tick.number).collect();
        assert_eq!(seen, [1, 2, 3, 5]);
        assert_eq!(missed(batch.gaps.into_iter(), &seen), 2);
    }

    #[test]
    fn a_tick_lasts_from_its_first_to_its_last_arrival_over_all_threads() {
        let batches = [(100, [0, 3]), (101, [7, 9])].map(|(base, times)| {
            let mut broadcasts = Broadcasts::default();
            for time in times {
                broadcasts.receive(&status(1), &mut 0, base + time);
            }
            broadcasts.take_batch()
        });
        let ticks = merged(&batches);
        assert_eq!(ticks.len(), 1);
        assert_eq!((ticks[0].first_ns, ticks[0].last_ns, ticks[0].recipients), (100, 110, 4));
    }

    #[test]
    fn each_tick_is_in_one_batch() {
        let mut broadcasts = Broadcasts::default();
        broadcasts.receive(&status(1), &mut 0, 1);
        assert_eq!(broadcasts.take_batch().ticks.len(), 1);
        // Late on another connection.
        broadcasts.receive(&status(1), &mut 0, 2);
        broadcasts.receive(&status(2), &mut 1, 3);
        let numbers: Vec<u64> = broadcasts.take_batch().ticks.iter().map(|tick| tick.number).collect();
        assert_eq!(numbers, [2]);
        assert_eq!(broadcasts.newest().map(|tick| tick.number), Some(2));
    }
}
