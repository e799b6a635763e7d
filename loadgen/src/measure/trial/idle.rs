//! The idle window: connections are open and nothing is sent, so that all a server does is its ticks.

use std::{io, time::Duration};

use servers::clock;

use super::{Idle, IdlePart, Measurement, readings::Readings};
use crate::{
    engine::{Moment, ReceivedTick},
    observe::{self, Process, Usage},
};

/// A reading of the server half-way between two ticks of the idle window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SecondReading {
    at_ns: u64,
    /// Ticks of the window until then.
    ticks: u64,
    /// How long it may take without being in the way of a tick.
    limit_ns: u64,
}

impl Measurement<'_> {
    /// Starts half an interval after a tick and lasts whole intervals, so that it holds a known number of ticks. After a
    /// third of them the server is read once more: what is the same in both parts is no cost of a tick.
    pub(super) fn idle(&mut self) -> io::Result<Idle> {
        let (length, ticks) = self.plan.idle_ticks();
        let aligned = match self.plan.status_interval {
            // Without a connection no tick is seen, and none is sent.
            Some(interval) if !interval.is_zero() && self.plan.connections > 0 => self.align(interval)?,
            _ => true,
        };
        let ticks = ticks.filter(|_| aligned && self.plan.connections > 0);
        let read_ns = clock::now_ns();
        let before = self.usage();
        let others = self.others();
        let reading_ns = clock::now_ns() - read_ns;
        self.catch_up(reading_ns)?;
        let (around, start_ns) = (observe::machine(), clock::now_ns());
        let length_ns = length.as_nanos() as u64;
        let second = ticks.and_then(|ticks| SecondReading::of(start_ns, length_ns, ticks));
        let second = second.filter(|second| reading_ns <= second.limit_ns && before.is_some());
        let mut readings = Readings::new(self.process.as_ref());
        let mut took_ns = 0;
        let middle_ns = second.map(|second| second.at_ns);
        let window = self.engine.idle_with(middle_ns, start_ns + length_ns, |moment| {
            let begun_ns = clock::now_ns();
            readings.take(moment);
            if moment == Moment::Middle {
                took_ns = clock::now_ns() - begun_ns;
            }
        })?;
        let Readings { middle, end, .. } = readings;
        let part = part(second, middle.as_ref().zip(before.as_ref()), took_ns);
        let server = end.or_else(|| self.usage()).zip(before).map(|(after, before)| after.since(&before));
        Ok(Idle {
            window,
            ticks: ticks.filter(|_| !self.engine.is_interrupted()),
            part: part.filter(|_| !self.engine.is_interrupted()),
            surroundings: self.surroundings(&around, start_ns, others.as_ref()),
            server,
            memory: self.process.as_ref().map(Process::memory),
        })
    }

    /// Sleeps until half an interval after a tick; false if no tick comes.
    fn align(&mut self, interval: Duration) -> io::Result<bool> {
        let interval_ns = interval.as_nanos() as u64;
        if self.engine.newest_tick().is_none() {
            self.engine.wait_for_tick(clock::now_ns() + 2 * interval_ns)?;
        }
        let Some(ReceivedTick { due_ns, first_ns, .. }) = self.engine.newest_tick() else { return Ok(false) };
        // A tick arrives soon after it was due, which is near enough where the clock that says when is not known.
        let due_ns = if self.has_foreign_clock { first_ns } else { due_ns };
        let now_ns = clock::now_ns();
        let Some(middle_ns) = next_middle_ns(due_ns, interval_ns, now_ns) else { return Ok(false) };
        // Ticks that arrive until then belong to no window.
        drop(self.engine.idle_until(middle_ns)?);
        Ok(true)
    }
}

/// The first part of the window; `None` if its reading took too long.
fn part(second: Option<SecondReading>, readings: Option<(&Usage, &Usage)>, took_ns: u64) -> Option<IdlePart> {
    let (second, (middle, before)) = second.filter(|second| took_ns <= second.limit_ns).zip(readings)?;
    Some(IdlePart { ticks: second.ticks, wakeups: middle.since(before).voluntary_switches? })
}

impl SecondReading {
    /// After a third of the ticks of a window that begins half-way between two; at least one is in either part.
    fn of(start_ns: u64, length_ns: u64, ticks: u64) -> Option<Self> {
        if ticks < 2 {
            return None;
        }
        let (interval_ns, part) = (length_ns / ticks, (ticks / 3).max(1));
        Some(Self { at_ns: start_ns + interval_ns * part, ticks: part, limit_ns: interval_ns / 10 })
    }
}

/// The next time half-way between two ticks, one of which was due at `due_ns`; `None` if that due time, which the server
/// reports, lies later than the next tick can be.
fn next_middle_ns(due_ns: u64, interval_ns: u64, now_ns: u64) -> Option<u64> {
    let middle_ns = due_ns.checked_add(interval_ns / 2)?;
    let late_ns = now_ns.saturating_sub(middle_ns);
    let next_ns = middle_ns + late_ns.div_ceil(interval_ns) * interval_ns;
    (next_ns <= now_ns + 2 * interval_ns).then_some(next_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_reading_comes_after_a_third_of_the_ticks_and_leaves_one_to_either_part() {
        let part = |ticks| SecondReading::of(0, ticks * 1_000, ticks).map(|second| second.ticks);
        assert_eq!([0, 1].map(part), [None; 2]);
        assert_eq!([2, 3, 5, 6, 210].map(part), [1, 1, 1, 2, 70].map(Some));
        let second = SecondReading::of(50_500, 9_000, 9);
        assert_eq!(second, Some(SecondReading { at_ns: 53_500, ticks: 3, limit_ns: 100 }));
    }

    #[test]
    fn a_server_that_says_absurd_times_is_not_waited_for() {
        assert_eq!(next_middle_ns(1_000, 100, 1_010), Some(1_050));
        assert_eq!(next_middle_ns(1_000, 100, 1_051), Some(1_150));
        assert_eq!(next_middle_ns(7, 100, 1_051), Some(1_057), "long ago");
        assert_eq!(next_middle_ns(2_000, 100, 1_051), None, "in the far future");
        assert_eq!(next_middle_ns(u64::MAX, 100, 1_051), None);
    }
}
