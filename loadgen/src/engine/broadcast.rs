//! Ticks as the clients see them: which came where and when, and which are missing. Pure.

use protocol::status::Status;

/// Ticks and gaps kept of one trial: more than a quarter of an hour at the shortest interval. A server that makes up
/// numbers shall not fill the memory.
const KEPT_MAX: usize = 100_000;

/// How far back a late tick is looked for.
const RECENT: usize = 100;

/// A tick as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Its number.
    pub number: u64,
    /// When it was due, in nanoseconds of CLOCK_MONOTONIC.
    pub due_ns: u64,
    /// When its fan-out began.
    pub emit_ns: u64,
    /// When the first connection had it.
    pub first_ns: u64,
    /// When the last one had it.
    pub last_ns: u64,
    /// How many connections had it.
    pub recipients: u64,
}

impl Tick {
    /// The same tick as another thread saw it.
    fn merge(&mut self, other: &Self) {
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
        self.recipients += other.recipients;
    }
}

/// What a status line was to the connection that got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusOrder {
    Next,
    /// The same tick again.
    Duplicate,
    /// An older tick than the last one.
    Reordered,
}

/// All ticks that one thread has seen, in order, and what its connections missed.
#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    ticks: Vec<Tick>,
    /// Numbers that a connection did not get, from the first up to the second, exclusive.
    gaps: Vec<(u64, u64)>,
    /// Where the ticks begin that the last harvest has not taken.
    taken: usize,
}

impl Broadcasts {
    /// A status arrived on a connection whose newest tick so far is `last` (0 for none).
    pub(crate) fn receive(&mut self, status: &Status, last: &mut u64, now_ns: u64) -> StatusOrder {
        let order = match *last {
            last if status.tick == last => return StatusOrder::Duplicate,
            last if status.tick < last => return StatusOrder::Reordered,
            // A gap on a new connection is none: it was not there.
            0 => StatusOrder::Next,
            last => {
                if status.tick > last + 1 && self.gaps.len() < KEPT_MAX {
                    self.gaps.push((last + 1, status.tick));
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
        let seen = Tick { number, due_ns, emit_ns, first_ns: now_ns, last_ns: now_ns, recipients: 1 };
        let recent = self.ticks.len().saturating_sub(RECENT);
        // Nearly always the newest.
        match self.ticks[recent..].iter().rposition(|tick| tick.number <= number) {
            Some(index) if self.ticks[recent + index].number == number => self.ticks[recent + index].merge(&seen),
            found if self.ticks.len() < KEPT_MAX => {
                self.ticks.insert(recent + found.map_or(0, |index| index + 1), seen);
            }
            _ => {}
        }
    }

    /// The tick of the highest number.
    pub(crate) fn newest(&self) -> Option<&Tick> {
        self.ticks.last()
    }

    /// The ticks that came since the last harvest, and the gaps found since.
    pub(crate) fn take_batch(&mut self) -> TickBatch {
        let ticks = self.ticks.split_off(self.taken.min(self.ticks.len()));
        // Kept, so that one that straddles two windows is not taken for two.
        self.ticks.extend(ticks.last());
        self.taken = self.ticks.len();
        TickBatch { ticks, gaps: std::mem::take(&mut self.gaps) }
    }
}

/// What one thread saw in one window.
#[derive(Clone, Debug, Default)]
pub(crate) struct TickBatch {
    pub(crate) ticks: Vec<Tick>,
    pub(crate) gaps: Vec<(u64, u64)>,
}

/// The ticks of several threads, each tick once, in order.
pub(crate) fn merged(batches: &[TickBatch]) -> Vec<Tick> {
    let mut all: Vec<Tick> = batches.iter().flat_map(|batch| batch.ticks.iter().copied()).collect();
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

/// How many statuses are missing: numbers in a connection's gap that another connection got. A number that nobody got
/// was skipped by the server (B4).
pub(crate) fn missed(gaps: impl Iterator<Item = (u64, u64)>, seen: &[u64]) -> u64 {
    let within = |(from, until): (u64, u64)| {
        seen.partition_point(|number| *number < until) - seen.partition_point(|number| *number < from)
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
    fn duplicates_and_older_ticks_are_told_from_new_ones() {
        let (mut broadcasts, mut last) = (Broadcasts::default(), 0);
        let mut receive = |tick| broadcasts.receive(&status(tick), &mut last, 1);
        assert_eq!([7, 8, 8, 7, 9].map(&mut receive), {
            use StatusOrder::{Duplicate, Next, Reordered};
            [Next, Next, Duplicate, Reordered, Next]
        });
    }

    #[test]
    fn a_tick_that_others_got_is_missed_and_one_that_nobody_got_was_skipped() {
        let mut broadcasts = Broadcasts::default();
        let (mut complete, mut incomplete) = (0, 0);
        // Nobody gets 4.
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
    fn a_harvest_takes_each_tick_once() {
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
