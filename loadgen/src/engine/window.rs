//! The measurement of one window, added up over all threads and hosts.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{
    CohortTally,
    broadcast::{self, ReceivedTick, TickBatch},
    recorder::Response,
    tally::Tally,
};
use crate::{
    hosts::{ClockMap, HostClock},
    observe::ThreadUsage,
};

/// What a window measured.
#[derive(Debug)]
pub(crate) struct Window {
    /// Histograms and counts of the measured clients.
    pub(crate) tally: Tally,
    /// Histograms and counts of the background clients, in the order of [`CohortKind::ALL`](crate::plan::CohortKind::ALL).
    pub(crate) cohorts: [CohortTally; 3],
    /// The ticks that arrived, in order.
    pub(crate) ticks: Vec<ReceivedTick>,
    /// From the start of the window to its planned end or to a signal, in nanoseconds: what rates divide by.
    pub(crate) planned_ns: u64,
    /// From the start of the window until its drain was over, in nanoseconds.
    pub(crate) span_ns: u64,
    /// What the engine's threads used from the start until the drain was over.
    pub(crate) usage: ThreadUsage,
    /// The busiest thread's time in rounds that had something to do, in nanoseconds.
    pub(crate) busy_ns: u64,
    /// What each generator on another host measured; empty without any.
    pub(crate) parts: Vec<HostPart>,
    /// By how much the hosts' clocks may make deliveries or spreads wrong, as a share of their median, whichever is more;
    /// `None` without other hosts, or without a status.
    pub(crate) clock_error: Option<f64>,
}

/// The share of a median by which clocks may make it wrong: beyond it, the times are forgotten.
pub(crate) const CLOCK_ERROR: f64 = 0.1;

/// What one thread measured in one window.
#[derive(Debug)]
pub(crate) struct ShardWindow {
    pub(crate) tally: Tally,
    pub(crate) cohorts: [CohortTally; 3],
    pub(crate) responses: Vec<Response>,
    pub(crate) ticks: TickBatch,
    pub(crate) usage: ThreadUsage,
    pub(crate) busy_ns: u64,
    /// When a signal ended the window, if one did.
    pub(crate) interrupted_ns: Option<u64>,
}

/// What all threads of one host measured in one window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HostWindow {
    pub(crate) tally: Tally,
    pub(crate) cohorts: [CohortTally; 3],
    pub(crate) ticks: TickBatch,
    pub(crate) usage: ThreadUsage,
    /// Of the busiest thread.
    pub(crate) busy_ns: u64,
    /// When a signal ended the window, if one did.
    pub(crate) interrupted_ns: Option<u64>,
    /// When the drain was over.
    pub(crate) ended_ns: u64,
}

/// A generator on another host in a window: what it measured, and under which conditions.
#[derive(Clone, Debug)]
pub(crate) struct HostPart {
    pub(crate) window: HostWindow,
    pub(crate) conditions: HostConditions,
}

/// The conditions of a generator on another host in a window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostConditions {
    /// Open connections.
    pub(crate) live: u32,
    /// How long before the window's start it had its order, in nanoseconds; negative if it was too late.
    pub(crate) lead_ns: i64,
    /// Its clock, as it was taken for the window; the error is the one after the window.
    pub(crate) clock: HostClock,
}

/// The part of a window that belongs to no host.
#[derive(Debug)]
pub(crate) struct Common<'a> {
    pub(crate) start_ns: u64,
    pub(crate) planned_ns: u64,
    /// Open connections.
    pub(crate) live: u32,
    /// Numbers of all ticks that any connection ever received, in order; those of the window are added.
    pub(crate) ticks_seen: &'a mut Vec<u64>,
}

impl HostWindow {
    /// Adds up the records of a host's threads, and separates the messages that were intended within `fan_out_span_ns` after
    /// a tick's due time from the others.
    pub(crate) fn of(shards: Vec<ShardWindow>, fan_out_span_ns: u64, ended_ns: u64) -> Self {
        let interrupted_ns = shards.iter().filter_map(|shard| shard.interrupted_ns).max();
        let usage = shards.iter().fold(ThreadUsage::default(), |sum, shard| sum.plus(&shard.usage));
        let busy_ns = shards.iter().map(|shard| shard.busy_ns).max().unwrap_or(0);
        let (mut batches, mut responses) = (Vec::new(), Vec::new());
        let mut sum: Option<(Tally, [CohortTally; 3])> = None;
        for shard in shards {
            batches.push(shard.ticks);
            responses.push(shard.responses);
            match &mut sum {
                None => sum = Some((shard.tally, shard.cohorts)),
                Some((tally, cohorts)) => add(tally, cohorts, &shard.tally, &shard.cohorts),
            }
        }
        let (mut tally, cohorts) = sum.unwrap_or_default();
        let ticks = broadcast::merged(&batches);
        record_interference(&mut tally, &ticks, fan_out_span_ns, &responses);
        let gaps = batches.into_iter().flat_map(|batch| batch.gaps).collect();
        Self { tally, cohorts, ticks: TickBatch { ticks, gaps }, usage, busy_ns, interrupted_ns, ended_ns }
    }

    /// The same by this host's clock, if its times are by the other one.
    pub(super) fn here(mut self, clock: &ClockMap) -> Self {
        self.tally.start_ns = clock.here(self.tally.start_ns);
        self.interrupted_ns = self.interrupted_ns.map(|at_ns| clock.here(at_ns));
        self.ended_ns = clock.here(self.ended_ns);
        self.ticks.ticks.iter_mut().for_each(|tick| *tick = tick.here(clock));
        self
    }
}

fn add(sum: &mut Tally, cohorts: &mut [CohortTally; 3], tally: &Tally, others: &[CohortTally; 3]) {
    sum.add(tally);
    cohorts.iter_mut().zip(others).for_each(|(sum, part)| sum.add(part));
}

impl Window {
    /// Adds up the records of the hosts, and derives what takes the records of all of them.
    pub(crate) fn merge(hosts: &[HostWindow], common: Common<'_>) -> Self {
        let interrupted_ns = hosts.iter().filter_map(|host| host.interrupted_ns).max();
        let ended_ns = hosts.iter().map(|host| host.ended_ns).max().unwrap_or(common.start_ns);
        let usage = hosts.iter().fold(ThreadUsage::default(), |sum, host| sum.plus(&host.usage));
        let busy_ns = hosts.iter().map(|host| host.busy_ns).max().unwrap_or(0);
        let first = hosts.first().map(|host| (host.tally.clone(), host.cohorts.clone()));
        let (mut tally, mut cohorts) = first.unwrap_or_default();
        for host in hosts.iter().skip(1) {
            add(&mut tally, &mut cohorts, &host.tally, &host.cohorts);
        }
        let batches: Vec<&TickBatch> = hosts.iter().map(|host| &host.ticks).collect();
        let ticks = record_ticks(&mut tally, &batches, common.live, common.ticks_seen);
        let planned_ns = planned_ns(common.start_ns, common.planned_ns, interrupted_ns);
        let span_ns = ended_ns.saturating_sub(common.start_ns);
        let (parts, clock_error) = (Vec::new(), None);
        Self { tally, cohorts, ticks, planned_ns, span_ns, usage, busy_ns, parts, clock_error }
    }

    /// The same with what its hosts measured. A delivery compares the clocks of two hosts, a spread those of three; what they
    /// may make wrong by too much is forgotten.
    pub(super) fn of_hosts(mut self, parts: Vec<HostPart>) -> Self {
        self.parts = parts;
        let mut errors: Vec<u64> = self.parts.iter().map(|part| part.conditions.clock.error_ns).collect();
        errors.sort_unstable_by_key(|error| std::cmp::Reverse(*error));
        let share = |error_ns: u64, times: &Histogram<u64>| {
            (!times.is_empty()).then(|| error_ns as f64 / times.value_at_quantile(0.5) as f64)
        };
        let delivery = errors.first().and_then(|error_ns| share(*error_ns, &self.tally.status_delivery));
        let spread = match errors[..] {
            [one, other, ..] => share(one + other, &self.tally.status_spread),
            // All arrivals are by one clock.
            _ => None,
        };
        self.clock_error = delivery.into_iter().chain(spread).reduce(f64::max);
        if delivery.is_some_and(|share| share > CLOCK_ERROR) {
            self.tally.forget_delivery();
            self.parts.iter_mut().for_each(|part| part.window.tally.forget_delivery());
        }
        if spread.is_some_and(|share| share > CLOCK_ERROR) {
            self.tally.status_spread.reset();
        }
        self
    }

    /// Adds a later window of the same kind. The sum is no longer divided into seconds.
    pub(crate) fn add(&mut self, later: Self) {
        self.tally.seconds.clear();
        self.tally.add(&later.tally);
        self.cohorts.iter_mut().zip(&later.cohorts).for_each(|(sum, part)| sum.add(part));
        self.ticks.extend(later.ticks);
        self.planned_ns += later.planned_ns;
        self.span_ns += later.span_ns;
        self.usage = self.usage.plus(&later.usage);
        self.busy_ns += later.busy_ns;
    }

    /// Echoes per second until the planned end.
    pub(crate) fn rate_per_sec(&self) -> f64 {
        self.tally.counts.echoed_in_time as f64 * 1e9 / self.planned_ns as f64
    }
}

/// The length of a window that a signal may have ended. Rates divide by it, so an interrupted window has at least 1 ns.
fn planned_ns(start_ns: u64, planned_ns: u64, interrupted_ns: Option<u64>) -> u64 {
    interrupted_ns.map_or(planned_ns, |at_ns| at_ns.saturating_sub(start_ns).min(planned_ns).max(1))
}

/// Records the ticks of all hosts, each tick once, and returns them.
fn record_ticks(tally: &mut Tally, batches: &[&TickBatch], live: u32, seen: &mut Vec<u64>) -> Vec<ReceivedTick> {
    let ticks = broadcast::merged(batches.iter().copied());
    for tick in &ticks {
        tally.record_tick(tick.due_ns, tick.emit_ns);
        if tick.recipients >= u64::from(live).max(2) {
            tally.record_spread(tick.first_ns, tick.last_ns);
        }
    }
    seen.extend(ticks.iter().map(|tick| tick.number));
    seen.sort_unstable();
    seen.dedup();
    let gaps = batches.iter().flat_map(|batch| batch.gaps.iter().cloned());
    tally.counts.statuses_missed = broadcast::missed(gaps, seen);
    ticks
}

/// Separates the messages that were intended within a span after a tick's due time from the others. Neither the span nor
/// the intended time depends on the server: by last arrival a slow fan-out would take more messages into its own set, and by
/// overlap slow answers would meet more ticks.
fn record_interference(tally: &mut Tally, ticks: &[ReceivedTick], span_ns: u64, responses: &[Vec<Response>]) {
    if ticks.is_empty() {
        return;
    }
    for &Response { intended_ns, response_ns } in responses.iter().flatten() {
        let next = ticks.partition_point(|tick| tick.due_ns <= intended_ns);
        let in_fanout = next > 0 && intended_ns - ticks[next - 1].due_ns < span_ns;
        tally.record_interference(in_fanout, response_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(number: u64, due_ns: u64, last_ns: u64) -> ReceivedTick {
        ReceivedTick { number, due_ns, emit_ns: due_ns, first_ns: due_ns, last_ns, recipients: 2 }
    }

    fn shard(ticks: TickBatch, busy_ns: u64, interrupted_ns: Option<u64>) -> ShardWindow {
        let (mut tally, cohorts) = <(Tally, [CohortTally; 3])>::default();
        tally.record_echo(0, 0, 10);
        let responses = vec![Response { intended_ns: 1_000, response_ns: 10 }];
        ShardWindow { tally, cohorts, responses, ticks, usage: ThreadUsage::default(), busy_ns, interrupted_ns }
    }

    #[test]
    fn threads_are_added_up_and_the_busiest_one_and_the_last_interruption_count() {
        let mut ticks_seen = vec![1, 2];
        let first = TickBatch { ticks: vec![tick(4, 1_000, 1_500)], gaps: vec![] };
        let second = TickBatch { ticks: vec![tick(4, 1_000, 1_800)], gaps: std::iter::once(2..5).collect() };
        let common = Common { start_ns: 100, planned_ns: 5_000, live: 4, ticks_seen: &mut ticks_seen };
        let shards = vec![shard(first, 3, Some(600)), shard(second, 9, Some(700))];
        let window = Window::merge(&[HostWindow::of(shards, 1, 800)], common);
        assert_eq!((window.tally.counts.echoed, window.busy_ns, window.planned_ns), (2, 9, 600));
        assert_eq!(window.span_ns, 700);
        assert_eq!((window.ticks.len(), window.ticks[0].recipients), (1, 4));
        // 3 was skipped by the server; 2 and 4 reached another connection.
        assert_eq!(window.tally.counts.statuses_missed, 2);
        assert_eq!(window.tally.response_in_fanout.len(), 2);
        assert_eq!((window.tally.status_spread.max(), window.tally.status_emit_lag.len()), (800, 1));
        assert_eq!(ticks_seen, [1, 2, 4]);
    }

    #[test]
    fn a_tick_that_came_to_two_hosts_counts_once_by_the_clock_of_the_server() {
        let late = ClockMap::default();
        let host = |last_ns| {
            let ticks = TickBatch { ticks: vec![tick(4, 1_000, last_ns)], gaps: vec![] };
            HostWindow::of(vec![shard(ticks, 1, None)], 1, 2_000).here(&late)
        };
        let common = Common { start_ns: 0, planned_ns: 5_000, live: 4, ticks_seen: &mut Vec::new() };
        let window = Window::merge(&[host(1_500), host(1_900)], common);
        assert_eq!((window.ticks.len(), window.ticks[0].recipients, window.ticks[0].last_ns), (1, 4, 1_900));
        assert_eq!((window.tally.status_emit_lag.len(), window.tally.status_spread.max()), (1, 900));
        assert_eq!((window.tally.counts.echoed, window.tally.response_in_fanout.len()), (2, 2));
    }

    #[test]
    fn windows_of_one_kind_are_added_up() {
        let window = |echoed_in_time, planned_ns, busy_ns| {
            let mut ticks_seen = Vec::new();
            let ticks = TickBatch { ticks: vec![tick(planned_ns, 1_000, 1_500)], gaps: vec![] };
            let common = Common { start_ns: 0, planned_ns, live: 1, ticks_seen: &mut ticks_seen };
            let mut window = Window::merge(&[HostWindow::of(vec![shard(ticks, busy_ns, None)], 1, planned_ns)], common);
            window.tally.counts.echoed_in_time = echoed_in_time;
            window
        };
        let mut sum = window(30, 1_000_000_000, 3);
        assert_eq!(sum.rate_per_sec(), 30.0);
        sum.add(window(10, 3_000_000_000, 4));
        assert_eq!((sum.rate_per_sec(), sum.busy_ns, sum.planned_ns), (10.0, 7, 4_000_000_000));
        assert_eq!((sum.tally.counts.echoed, sum.tally.response.len(), sum.ticks.len()), (2, 2, 2));
    }

    #[test]
    fn a_spread_takes_every_open_connection_and_at_least_two() {
        let spreads = |live| {
            let (mut tally, batch) = (Tally::default(), TickBatch { ticks: vec![tick(1, 0, 5)], gaps: vec![] });
            record_ticks(&mut tally, &[&batch], live, &mut Vec::new());
            tally.status_spread.len()
        };
        assert_eq!([0, 1, 2, 3].map(spreads), [1, 1, 1, 0]);
    }

    #[test]
    fn a_window_is_as_long_as_planned_or_until_a_signal() {
        assert_eq!(planned_ns(100, 50, None), 50);
        assert_eq!([130, 100, 50, 900].map(|at_ns| planned_ns(100, 50, Some(at_ns))), [30, 1, 1, 50]);
    }

    #[test]
    fn messages_intended_soon_after_a_tick_was_due_are_recorded_apart_however_long_its_fan_out_took() {
        // Before the first tick, when it is due, at the end of its span, after it, in the second.
        let responses = [999, 1_000, 1_399, 1_400, 2_050].map(|intended_ns| Response { intended_ns, response_ns: 7 });
        let responses = [responses.to_vec()];
        for last_ns in [1_000, 1_100, 1_900] {
            let mut tally = Tally::default();
            record_interference(&mut tally, &[tick(1, 1_000, last_ns), tick(2, 2_000, 2_001)], 400, &responses);
            assert_eq!((tally.response_in_fanout.len(), tally.response_outside_fanout.len()), (3, 2), "{last_ns}");
        }
        let mut tally = Tally::default();
        record_interference(&mut tally, &[], 400, &responses);
        assert!(tally.response_outside_fanout.is_empty(), "without a tick there is neither inside nor outside");
    }
}
