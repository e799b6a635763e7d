//! The client: connections, pacing and the check of every echo, on one thread and one poll or on several.
//!
//! It knows an address and nothing about servers; it reads the clock and writes a [`Tally`], and judges nothing. Threads
//! share nothing while a window lasts: each has its connections, its poll and its histograms, which are added up behind it.

mod background;
mod broadcast;
mod connection;
mod echo_verifier;
mod in_flight;
mod littles_law;
mod measured;
mod message;
pub mod progress;
mod schedule;
mod shard;
pub mod shortage;
mod sizes;
pub mod tally;
mod tokens;
mod waiter;

use std::{io, net::SocketAddr, panic, sync::Arc, thread, time::Duration};

pub use background::CohortTally;
pub use broadcast::Tick;
pub use schedule::{Slot, Workload};
use servers::clock;

use self::{
    background::Flood,
    progress::Progress,
    shard::{Part, Shard},
    tally::Tally,
};
use crate::{
    observe::{self, ThreadUsage},
    plan::{Cohorts, Kind, Pacing, Payloads},
};

/// How much later than now an open loop begins, so that every thread is there.
const LEAD: Duration = Duration::from_millis(2);

/// What the connections have in common.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// How many connections.
    pub connections: u32,
    /// Sizes of the messages.
    pub payloads: Payloads,
    /// TCP_NODELAY on the client's side.
    pub nodelay: bool,
    /// TCP_CONGESTION on the client's side.
    pub congestion: Option<String>,
    /// How the next slot is waited for.
    pub pacing: Pacing,
    /// Threads, each with its part of the connections; at least 1.
    pub threads: u32,
    /// The CPU of each thread, in turn; nowhere in particular if there is none.
    pub cpus: Vec<usize>,
    /// CPUs of the flooders alone; with none, they run where they disturb the least.
    pub flood_cpus: Vec<usize>,
    /// Addresses to connect from, 127.0.0.1 and the following; 1 leaves it to the kernel.
    pub source_addresses: u32,
    /// Clients that behave badly beside the measured ones.
    pub cohorts: Cohorts,
    /// Told how many messages came back.
    pub progress: Arc<Progress>,
}

/// What a window measured.
#[derive(Debug)]
pub struct Window {
    /// Its histograms and counts.
    pub tally: Tally,
    /// Those of the clients that behave badly, in the order of [`Kind::ALL`].
    pub cohorts: [CohortTally; 3],
    /// The ticks that arrived, in order.
    pub ticks: Vec<Tick>,
    /// From its start to its planned end, or until a signal came, in nanoseconds: what rates divide by.
    pub planned_ns: u64,
    /// What the engine's threads used from its start until the drain was over.
    pub usage: ThreadUsage,
    /// The busiest thread's time with something to do, in nanoseconds.
    pub busy_ns: u64,
}

/// Open connections and the loops that drive them.
#[derive(Debug)]
pub struct Engine {
    shards: Vec<Shard>,
    options: Options,
    flood: Option<Flood>,
    /// Numbers of all ticks that any connection got, in order.
    ticks_seen: Vec<u64>,
}

impl Engine {
    /// Opens every connection, at most 64 of them unanswered at a time, and waits for the first echo on each.
    ///
    /// The times and failures are in the returned window.
    ///
    /// # Errors
    /// If the kernel refuses a poll or a timer. A server that cannot be reached is no error here: see
    /// [`Engine::connected`] and [`Engine::first_problem`].
    pub fn connect(options: &Options) -> io::Result<(Self, Window)> {
        let shards = (0..options.threads).map(|index| Shard::new(options, index, options.threads));
        let shards = shards.collect::<io::Result<Vec<_>>>()?;
        let mut engine = Self { shards, options: options.clone(), flood: None, ticks_seen: Vec::new() };
        let window = engine.window(clock::now_ns(), 0, |shard, _| shard.connect())?;
        Ok((engine, window))
    }

    /// Connections that echo.
    pub fn connected(&self) -> u32 {
        self.shards.iter().map(Shard::live).sum()
    }

    /// What the first connection that failed ran into.
    pub fn first_problem(&self) -> Option<&str> {
        self.shards.iter().find_map(Shard::first_problem)
    }

    /// What this host lacked when it first could not carry a connection.
    pub fn first_shortage(&self) -> Option<&str> {
        self.shards.iter().find_map(Shard::first_shortage)
    }

    /// Whether a signal came. The window under way ended then, and nothing is sent in one that begins now.
    pub fn is_interrupted(&self) -> bool {
        self.shards.iter().any(Shard::is_interrupted)
    }

    /// The newest tick that any connection has seen.
    pub fn newest_tick(&self) -> Option<Tick> {
        self.shards.iter().filter_map(Shard::newest_tick).max_by_key(|tick| tick.number).copied()
    }

    /// Sleeps until a tick that is newer than `newest_tick` arrives, or until `until_ns`.
    ///
    /// # Errors
    /// If polling fails.
    pub fn wait_for_tick(&mut self, until_ns: u64) -> io::Result<()> {
        self.on_each(|shard, _| shard.wait_for_tick(until_ns)).map(drop)
    }

    /// Sends nothing until `until_ns` and takes what comes.
    ///
    /// # Errors
    /// If polling fails.
    pub fn idle_until(&mut self, until_ns: u64) -> io::Result<Window> {
        let start_ns = clock::now_ns();
        self.window(start_ns, until_ns.saturating_sub(start_ns), |shard, _| shard.idle_until(until_ns))
    }

    /// Sends every slot when it is due, for the length of `window`; then waits for what is on its way.
    ///
    /// # Errors
    /// If polling fails.
    pub fn open_loop(&mut self, slots: &[Slot], window: Duration) -> io::Result<Window> {
        let threads = self.shards.len();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            let own = slots.iter().filter(|slot| slot.connection as usize % threads == index);
            shard.prepare(own.copied().collect());
        }
        let planned_ns = window.as_nanos() as u64;
        let start_ns = clock::now_ns() + LEAD.as_nanos() as u64;
        self.window(start_ns, planned_ns, |shard, _| shard.open_loop(start_ns, start_ns + planned_ns))
    }

    /// Keeps `depth` messages under way on every connection for the length of `window`.
    ///
    /// # Errors
    /// If polling fails.
    pub fn closed_loop(&mut self, depth: u32, window: Duration, pacing: Pacing) -> io::Result<Window> {
        let planned_ns = window.as_nanos() as u64;
        let start_ns = clock::now_ns();
        self.window(start_ns, planned_ns, |shard, _| shard.closed_loop(depth, start_ns + planned_ns, pacing))
    }

    /// Has the bad clients begin, or ends them.
    ///
    /// # Errors
    /// If the kernel refuses the flooders a poll or a thread.
    pub fn set_cohorts_active(&mut self, active: bool) -> io::Result<()> {
        self.shards.iter_mut().for_each(|shard| shard.set_background_active(active));
        let flooding = active && self.options.cohorts.flooders > 0;
        self.flood = if flooding { Some(Flood::start(&self.options)?) } else { None };
        Ok(())
    }

    fn window(
        &mut self,
        start_ns: u64,
        planned_ns: u64,
        run: impl Fn(&mut Shard, usize) -> io::Result<Part> + Sync,
    ) -> io::Result<Window> {
        let parts = self.on_each(|shard, index| {
            let before = observe::thread_usage();
            let part = run(shard, index)?;
            Ok((part, observe::thread_usage().since(&before)))
        })?;
        let interrupted_ns = parts.iter().filter_map(|(part, _)| part.interrupted_ns).max();
        // Rates divide by it, so it is never nothing.
        let planned_ns =
            interrupted_ns.map_or(planned_ns, |at_ns| at_ns.saturating_sub(start_ns).min(planned_ns).max(1));
        Ok(self.merge(parts, planned_ns))
    }

    /// Does something on every shard, each on its own thread if there are several.
    fn on_each<T: Send>(&mut self, run: impl Fn(&mut Shard, usize) -> io::Result<T> + Sync) -> io::Result<Vec<T>> {
        if let [shard] = &mut self.shards[..] {
            return Ok(vec![run(shard, 0)?]);
        }
        let (cpus, run) = (&self.options.cpus, &run);
        thread::scope(|scope| {
            let work = |(index, shard): (usize, _)| {
                move || {
                    if !cpus.is_empty() {
                        observe::pin_thread(&[cpus[index % cpus.len()]])?;
                    }
                    run(shard, index)
                }
            };
            let threads: Vec<_> = self.shards.iter_mut().enumerate().map(|shard| scope.spawn(work(shard))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|cause| panic::resume_unwind(cause)))
                .collect()
        })
    }

    /// Adds up what the threads counted, and derives what none of them can know alone.
    fn merge(&mut self, parts: Vec<(Part, ThreadUsage)>, planned_ns: u64) -> Window {
        let batches: Vec<_> = parts.iter().map(|(part, _)| part.ticks.clone()).collect();
        let ticks = broadcast::merged(&batches);
        let live = u64::from(self.connected());
        let usage = parts.iter().fold(ThreadUsage::default(), |sum, (_, usage)| sum.plus(usage));
        let busy_ns = parts.iter().map(|(part, _)| part.busy_ns).max().unwrap_or(0);
        let mut responses = Vec::new();
        let mut parts = parts.into_iter().map(|(part, _)| part);
        // There is at least one thread.
        let first = parts.next().expect("an engine has a thread");
        let (mut tally, mut cohorts) = (first.tally, first.cohorts);
        responses.push(first.responses);
        for part in parts {
            tally.add(&part.tally);
            cohorts.iter_mut().zip(&part.cohorts).for_each(|(sum, part)| sum.add(part));
            responses.push(part.responses);
        }
        if let Some(flooded) = self.flood.as_ref().and_then(Flood::take) {
            cohorts[Kind::Flooder as usize].add(&flooded);
        }
        for tick in &ticks {
            tally.record_tick(tick.due_ns, tick.emit_ns);
            if tick.recipients >= live.max(2) {
                tally.record_spread(tick.first_ns, tick.last_ns);
            }
        }
        self.ticks_seen.extend(ticks.iter().map(|tick| tick.number));
        self.ticks_seen.sort_unstable();
        self.ticks_seen.dedup();
        let gaps = batches.iter().flat_map(|ticks| ticks.gaps.iter().copied());
        tally.counts.statuses_missed = broadcast::missed(gaps, &self.ticks_seen);
        record_interference(&mut tally, &ticks, &responses);
        Window { tally, cohorts, ticks, planned_ns, usage, busy_ns }
    }
}

/// Tells the messages that were intended while a tick was on its way, from its due time to its last arrival, from the
/// others. By the intended time, which does not depend on the answer: by overlap, slow answers would meet more ticks.
fn record_interference(tally: &mut Tally, ticks: &[Tick], responses: &[Vec<(u64, u64)>]) {
    if ticks.is_empty() {
        return;
    }
    for &(intended_ns, response_ns) in responses.iter().flatten() {
        let next = ticks.partition_point(|tick| tick.due_ns <= intended_ns);
        let in_fanout = next > 0 && intended_ns <= ticks[next - 1].last_ns;
        tally.record_interference(in_fanout, response_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_intended_during_a_fan_out_is_told_from_the_others() {
        let tick = |number, due_ns, last_ns| Tick {
            number,
            due_ns,
            emit_ns: due_ns,
            first_ns: due_ns,
            last_ns,
            recipients: 2,
        };
        let ticks = [tick(1, 1_000, 1_400), tick(2, 2_000, 2_100)];
        let mut tally = Tally::default();
        // Before the first tick, in it, at its end, after it, in the second.
        let responses = [999, 1_000, 1_400, 1_401, 2_050].map(|intended_ns| (intended_ns, 7));
        record_interference(&mut tally, &ticks, &[responses.to_vec()]);
        assert_eq!((tally.response_in_fanout.len(), tally.response_outside_fanout.len()), (3, 2));
        let mut tally = Tally::default();
        record_interference(&mut tally, &[], &[responses.to_vec()]);
        assert!(tally.response_outside_fanout.is_empty(), "without a tick there is neither inside nor outside");
    }
}
