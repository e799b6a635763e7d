//! The drain window: how fast a server answers one message on each of many connections, all of which are there when it
//! starts. What it does then does not depend on the generator, which only receives.

use std::{io, time::Duration};

use servers::clock;

use super::{Drained, Measurement};
use crate::{
    engine::{Bursts, ReceivedTick, progress::Phase},
    interrupt,
    measure::target::Stoppable,
};

/// Limit for the echoes of a burst, and some time for the server's work.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long what came between two bursts is received.
const LOOK_NS: u64 = 500_000;

/// How long the first burst is expected to take.
const FIRST_BURST_NS: u64 = 30_000_000;

/// The part of a burst's length by which its end may be uncertain: a hundredth.
const UNCERTAIN: u64 = 100;

/// What became of a burst.
enum Burst {
    /// The echoes of all messages came in so many nanoseconds.
    Counted(u64),
    /// It does not count, and neither do the others: there is a reason, unless the trial tells it already.
    Last(Option<String>),
}

impl Measurement<'_> {
    /// The plan's bursts; `None` without any, or after a signal.
    pub(super) fn drain(&mut self) -> io::Result<Option<Drained>> {
        let wanted = self.plan.windows.drain_bursts;
        if wanted == 0 || self.engine.is_interrupted() {
            return Ok(None);
        }
        self.progress.enter(Phase::Drain);
        let mut drained = Drained { bursts_wanted: wanted, ..Drained::default() };
        if self.drain_connections == 0 {
            drained.reason = Some("no connection fits beside the measured ones".to_owned());
            return Ok(Some(drained));
        }
        let stoppable = match Stoppable::open(&self.pids).and_then(|it| it.check().map(|()| it)) {
            Ok(stoppable) => stoppable,
            Err(reason) => {
                drained.reason = Some(reason);
                return Ok(Some(drained));
            }
        };
        let mut clients = self.engine.open_for_bursts(self.drain_connections)?;
        drained.connections = clients.connections();
        if drained.connections == 0 {
            let why = clients.why_no_more().unwrap_or("interrupted");
            drained.reason = Some(format!("no connection could be opened beside the measured ones: {why}"));
        } else {
            self.bursts(&stoppable, &mut *clients, &mut drained)?;
        }
        drained.problem.clone_from(&clients.state().first_problem);
        let interrupted = clients.state().is_interrupted;
        let window = self.engine.end_bursts(clients)?;
        drained.window = Some(window);
        drained.interrupted = interrupted || interrupt::requested();
        Ok(Some(drained))
    }

    fn bursts(&mut self, stoppable: &Stoppable, clients: &mut dyn Bursts, drained: &mut Drained) -> io::Result<()> {
        let mut took_ns = FIRST_BURST_NS;
        // By chance more messages than on average may be heavy, and other processes may want the CPU.
        let patience = PATIENCE + 5 * drained.connections * self.plan.service.work.mean();
        for _ in 0..drained.bursts_wanted {
            self.settle(clients, took_ns)?;
            if clients.state().is_interrupted || interrupt::requested() {
                return Ok(());
            }
            let begun_ns = clock::now_ns();
            match burst(stoppable, clients, patience)? {
                Burst::Counted(ns) => drained.rates_per_sec.push(f64::from(drained.connections) * 1e9 / ns as f64),
                Burst::Last(reason) => {
                    drained.reason = reason;
                    return Ok(());
                }
            }
            took_ns = clock::now_ns() - begun_ns;
        }
        Ok(())
    }

    /// Receives what has come on all connections, so that no buffer fills and no status line is read in a burst, and waits
    /// until the next tick leaves room for a burst, if the ticks are far enough apart.
    fn settle(&mut self, clients: &mut dyn Bursts, burst_ns: u64) -> io::Result<()> {
        let now_ns = clock::now_ns();
        let newest =
            self.engine.newest_tick().into_iter().chain(clients.state().newest_tick).max_by_key(|tick| tick.number);
        let interval_ns = self.plan.status_interval.map_or(0, |interval| interval.as_nanos() as u64);
        let begin_ns = newest.map_or(now_ns, |tick| next_gap_ns(&tick, interval_ns, now_ns, 2 * burst_ns));
        drop(self.engine.idle_until(begin_ns.saturating_sub(LOOK_NS).max(now_ns + LOOK_NS))?);
        clients.receive_until(begin_ns.max(clock::now_ns() + LOOK_NS))
    }
}

/// One burst: from the moment at which the server goes on until the last echo has come.
fn burst(stoppable: &Stoppable, clients: &mut dyn Bursts, patience: Duration) -> io::Result<Burst> {
    let standstill = match stoppable.stop() {
        Ok(standstill) => standstill,
        // Of a server that ended and of a signal the trial tells already.
        Err(_) if interrupt::requested() => return Ok(Burst::Last(None)),
        Err(reason) => return Ok(Burst::Last(Some(reason))),
    };
    let sent = clients.send()?;
    if sent.answered {
        return Ok(Burst::Last(Some("the server answered while its process stood still: it has others".to_owned())));
    }
    clients.await_echoes(clock::now_ns() + patience.as_nanos() as u64)?;
    let continued_ns = standstill.end();
    let last_ns = clients.last_echo_ns()?;
    Ok(match last_ns {
        _ if !clients.are_complete() => Burst::Last(Some("the server closed connections".to_owned())),
        _ if clients.state().is_interrupted => Burst::Last(None),
        None => Burst::Last(Some(format!("not every echo came within {} s", patience.as_secs()))),
        // The next one would not fit either.
        Some(_) if !sent.whole => {
            Burst::Last(Some("a message does not fit into the buffers of a connection".to_owned()))
        }
        Some(_) if !sent.arrived => Burst::Last(Some("not every message arrived before the server went on".to_owned())),
        Some(last_ns) if clients.clock_error_ns() > last_ns.saturating_sub(continued_ns) / UNCERTAIN => {
            Burst::Last(Some("the clocks of the generators' hosts are too uncertain for it".to_owned()))
        }
        Some(last_ns) => Burst::Counted(last_ns.saturating_sub(continued_ns).max(1)),
    })
}

/// When a burst of this length may begin so that no tick is due in it: now, or right after the next tick. Where the ticks
/// are too close, and where a server claims an absurd due time, it is now, and the median takes care of the ticks.
fn next_gap_ns(tick: &ReceivedTick, interval_ns: u64, now_ns: u64, burst_ns: u64) -> u64 {
    // After a tick is due, its lines are sent for a while.
    let fan_out_ns = burst_ns.min(interval_ns / 4);
    if interval_ns == 0 || fan_out_ns + burst_ns > interval_ns || tick.due_ns > now_ns {
        return now_ns;
    }
    let since_ns = (now_ns - tick.due_ns) % interval_ns;
    if since_ns < fan_out_ns {
        now_ns - since_ns + fan_out_ns
    } else if since_ns + burst_ns <= interval_ns {
        now_ns
    } else {
        now_ns - since_ns + interval_ns + fan_out_ns
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tick(due_ns: u64) -> ReceivedTick {
        ReceivedTick { number: 1, due_ns, emit_ns: due_ns, first_ns: due_ns, last_ns: due_ns, recipients: 1 }
    }

    #[test]
    fn a_burst_begins_now_or_after_the_next_tick() {
        let begin = |now_ns| next_gap_ns(&tick(10_000), 1_000, now_ns, 100);
        assert_eq!(begin(10_050), 10_100, "while the lines of a tick are sent");
        assert_eq!([10_100, 10_500, 10_900].map(begin), [10_100, 10_500, 10_900]);
        assert_eq!(begin(10_901), 11_100, "the next tick would be due in it");
        assert_eq!(begin(17_950), 18_100, "several ticks have passed unseen");
    }

    #[test]
    fn ticks_that_are_close_unknown_or_absurd_are_not_waited_for() {
        assert_eq!(next_gap_ns(&tick(10_000), 0, 10_990, 100), 10_990);
        assert_eq!(next_gap_ns(&tick(10_000), 110, 10_990, 100), 10_990);
        assert_eq!(next_gap_ns(&tick(u64::MAX), 1_000, 10_990, 100), 10_990);
    }

    proptest! {
        #[test]
        fn where_ticks_leave_room_no_burst_contains_one_and_none_waits_longer_than_an_interval_and_a_quarter(
            due_ns in 0..1_000_000_u64, interval_ns in 1_000..100_000_u64, share in 0.001..0.7_f64, later in 0..500_000_u64,
        ) {
            let (burst_ns, now_ns) = ((interval_ns as f64 * share) as u64, due_ns + later);
            let begin_ns = next_gap_ns(&tick(due_ns), interval_ns, now_ns, burst_ns);
            prop_assert!(begin_ns >= now_ns && begin_ns <= now_ns + interval_ns * 5 / 4);
            let since_ns = (begin_ns - due_ns) % interval_ns;
            prop_assert!(since_ns + burst_ns <= interval_ns, "{since_ns} + {burst_ns} of {interval_ns}");
        }
    }
}
