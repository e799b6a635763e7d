//! The client: connections, pacing and the verification of every echo, on one thread and one poll or on several.
//!
//! The engine knows an address and nothing about servers; it reads the clock and writes a [`Tally`](tally::Tally), and
//! judges nothing. Threads share nothing during a window: each has its connections, its poll and its histograms, which
//! are added up afterwards.
//!
//! # Layout
//!
//! | file | what it does |
//! |---|---|
//! | `shard` | one thread: its loop, its windows |
//! | `measured`, `background` | the two kinds of clients in that loop; `background/flood` has a thread of its own |
//! | `drain` | the clients that wait for a server that stands still |
//! | `clients` | the life cycle that all clients share |
//! | `connection` | one socket: send, queue, receive |
//! | `greeting` | the client's side of the handshake |
//! | `echo_verifier`, `in_flight`, `message`, `sizes` | the messages and the verification of their echoes |
//! | `window`, `recorder`, `tally`, `littles_law`, `broadcast` | what is recorded |
//! | `schedule` | when messages are due |
//! | `waiter`, `tokens` | waiting for sockets and for a point in time |
//! | `delay` | time wasted on purpose |
//! | `arrival` | the kernel's time stamps of what arrives |
//! | `end_cause`, `shortage` | why a connection ended, and which side is to blame |
//! | `progress` | how far a trial is, for the display |

mod arrival;
mod background;
mod broadcast;
mod clients;
mod connection;
mod delay;
mod drain;
mod echo_verifier;
mod end_cause;
mod greeting;
mod in_flight;
mod littles_law;
mod measured;
mod message;
mod options;
pub(crate) mod progress;
mod recorder;
mod schedule;
mod shard;
pub(crate) mod shortage;
mod sizes;
pub(crate) mod tally;
mod tokens;
mod waiter;
mod window;

use std::{io, panic, thread, time::Duration};

pub(crate) use background::CohortTally;
pub(crate) use broadcast::ReceivedTick;
pub(crate) use drain::BurstClients;
use hdrhistogram::Histogram;
pub(crate) use options::Options;
use protocol::work::Work;
pub(crate) use schedule::{Slot, Workload};
use servers::clock;
pub(crate) use window::Window;

use self::{
    background::Flood,
    shard::Shard,
    window::{Common, ShardWindow},
};
use crate::{observe, plan::Pacing};

/// How much later than now an open loop begins, so that every thread is ready.
const LEAD: Duration = Duration::from_millis(2);

/// How long the last connections of the churn are waited for.
const CHURN_PATIENCE: Duration = Duration::from_millis(500);

/// Open connections and the loops that drive them.
#[derive(Debug)]
pub(crate) struct Engine {
    shards: Vec<Shard>,
    options: Options,
    flood: Option<Flood>,
    /// Numbers of all ticks that any connection received, in order.
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
    pub(crate) fn connect(options: &Options) -> io::Result<(Self, Window)> {
        let shards = (0..options.threads).map(|index| Shard::new(options, index, options.threads));
        let shards = shards.collect::<io::Result<Vec<_>>>()?;
        let mut engine = Self { shards, options: options.clone(), flood: None, ticks_seen: Vec::new() };
        let window = engine.window(clock::now_ns(), 0, Shard::connect)?;
        Ok((engine, window))
    }

    /// Number of open connections.
    pub(crate) fn connected(&self) -> u32 {
        self.shards.iter().map(Shard::live).sum()
    }

    /// The first failure of a connection, shortages of this host aside.
    pub(crate) fn first_problem(&self) -> Option<&str> {
        self.shards.iter().find_map(Shard::first_problem)
    }

    /// What this host lacked when it first could not carry a connection.
    pub(crate) fn first_shortage(&self) -> Option<&str> {
        self.shards.iter().find_map(Shard::first_shortage)
    }

    /// Whether a signal came. It has ended the window that it came in, and nothing is sent in later ones.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.shards.iter().any(Shard::is_interrupted)
    }

    /// The newest tick that any connection has received.
    pub(crate) fn newest_tick(&self) -> Option<ReceivedTick> {
        self.shards.iter().filter_map(Shard::newest_tick).max_by_key(|tick| tick.number).copied()
    }

    /// Sleeps until a tick that is newer than `newest_tick` arrives, or until `until_ns`.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn wait_for_tick(&mut self, until_ns: u64) -> io::Result<()> {
        self.on_each(|shard| shard.wait_for_tick(until_ns)).map(drop)
    }

    /// Sends nothing until `until_ns`, and receives what comes.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn idle_until(&mut self, until_ns: u64) -> io::Result<Window> {
        let start_ns = clock::now_ns();
        self.window(start_ns, until_ns.saturating_sub(start_ns), |shard| shard.idle_until(until_ns))
    }

    /// [`idle_until`](Self::idle_until), but that `interlude` is called at `at_ns` and nothing is received meanwhile.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn idle_around(&mut self, at_ns: u64, until_ns: u64, interlude: impl FnOnce()) -> io::Result<Window> {
        let start_ns = clock::now_ns();
        self.on_each(|shard| {
            shard.begin_idle(until_ns);
            shard.receive_until(at_ns)
        })?;
        interlude();
        self.window(start_ns, until_ns.saturating_sub(start_ns), |shard| shard.end_idle(until_ns))
    }

    /// Opens up to `count` connections for bursts, beside the others and on the calling thread.
    ///
    /// # Errors
    /// If the kernel refuses a poll or a timer.
    pub(crate) fn open_for_bursts(&self, count: u32) -> io::Result<BurstClients> {
        BurstClients::connect(&self.options, count)
    }

    /// Closes the connections for bursts, and returns what was recorded of them.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn end_bursts(&mut self, clients: BurstClients) -> io::Result<Window> {
        clients.finish(&mut self.ticks_seen)
    }

    /// Marks the slots whose messages cost the server no more than most, if this is its work. To be called before the
    /// open loop of these slots and after every other, since a message's cost depends on its number.
    pub(crate) fn mark_light(&mut self, slots: &mut [Slot], work: &Work) {
        let threads = self.shards.len();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            shard.mark_light(slots.iter_mut().filter(|slot| slot.connection as usize % threads == index), work);
        }
    }

    /// Sends every slot when it is due, for the length of `window`; then waits for the messages in flight.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn open_loop(&mut self, slots: &[Slot], window: Duration) -> io::Result<Window> {
        let threads = self.shards.len();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            let own = slots.iter().filter(|slot| slot.connection as usize % threads == index);
            shard.prepare(own.copied().collect());
        }
        let planned_ns = window.as_nanos() as u64;
        let start_ns = clock::now_ns() + LEAD.as_nanos() as u64;
        self.window(start_ns, planned_ns, |shard| shard.open_loop(start_ns, start_ns + planned_ns))
    }

    /// Keeps `depth` messages in flight on every connection for the length of `window`.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn closed_loop(&mut self, depth: u32, window: Duration, pacing: Pacing) -> io::Result<Window> {
        let planned_ns = window.as_nanos() as u64;
        let start_ns = clock::now_ns();
        self.window(start_ns, planned_ns, |shard| shard.closed_loop(depth, start_ns + planned_ns, pacing))
    }

    /// Wastes so much time before each message, until this is called again; [`Options::generator_delay`] is what an
    /// engine begins with.
    pub(crate) fn set_delay(&mut self, per_message: Duration) {
        self.shards.iter_mut().for_each(|shard| shard.set_delay(per_message));
    }

    /// The receive lags since this was last called, in nanoseconds; none without [`Options::stamps_arrivals`].
    pub(crate) fn take_receive_lags(&mut self) -> Histogram<u64> {
        let mut sum = tally::histogram(3);
        for lags in self.shards.iter_mut().filter_map(Shard::take_receive_lags) {
            tally::add(&mut sum, &lags);
        }
        sum
    }

    /// Starts or ends the background clients.
    ///
    /// # Errors
    /// If the kernel refuses the flooders a poll or a thread.
    pub(crate) fn set_cohorts_active(&mut self, active: bool) -> io::Result<()> {
        if !active && self.options.handshake {
            self.end_churn()?;
        }
        self.shards.iter_mut().for_each(|shard| shard.set_background_active(active));
        let flooding = active && self.options.cohorts.flooders > 0;
        self.flood = if flooding { Some(Flood::start(&self.options)?) } else { None };
        Ok(())
    }

    /// Lets the churn's connections come to their ends: the server would count a handshake that the generator cuts off as
    /// failed.
    fn end_churn(&mut self) -> io::Result<()> {
        let start_ns = clock::now_ns();
        let patience_ns = CHURN_PATIENCE.as_nanos() as u64;
        // What arrives meanwhile belongs to no window.
        drop(self.window(start_ns, patience_ns, |shard| shard.end_churn(start_ns + patience_ns))?);
        Ok(())
    }

    fn window(
        &mut self,
        start_ns: u64,
        planned_ns: u64,
        run: impl Fn(&mut Shard) -> io::Result<ShardWindow> + Sync,
    ) -> io::Result<Window> {
        let shards = self.on_each(run)?;
        let live = self.connected();
        let flooded = self.flood.as_ref().and_then(Flood::take_tally);
        let fan_out_span_ns = self.options.fan_out_span_ns;
        let common = Common { start_ns, planned_ns, live, flooded, fan_out_span_ns, ticks_seen: &mut self.ticks_seen };
        Ok(Window::merge(shards, common))
    }

    /// Runs something on every shard, each on its own thread if there are several.
    fn on_each<T: Send>(&mut self, run: impl Fn(&mut Shard) -> io::Result<T> + Sync) -> io::Result<Vec<T>> {
        if let [shard] = &mut self.shards[..] {
            return Ok(vec![run(shard)?]);
        }
        let (cpus, run) = (&self.options.cpus, &run);
        thread::scope(|scope| {
            let work = |(index, shard): (usize, _)| {
                move || {
                    if !cpus.is_empty() {
                        observe::pin_thread(&[cpus[index % cpus.len()]])?;
                    }
                    run(shard)
                }
            };
            let threads: Vec<_> = self.shards.iter_mut().enumerate().map(|shard| scope.spawn(work(shard))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|cause| panic::resume_unwind(cause)))
                .collect()
        })
    }
}
