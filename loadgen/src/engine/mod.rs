//! The client: connections, pacing and the verification of every echo, on one thread or several, here or on other hosts.
//!
//! The engine knows an address and nothing about servers; it reads the clock and writes a [`Tally`](tally::Tally), and
//! judges nothing. Threads share nothing during a window: each has its connections, its poll and its histograms, which
//! are added up afterwards. A host is to the engine what a thread is: connections are dealt over all threads of all hosts.
//!
//! # Layout
//!
//! | file | what it does |
//! |---|---|
//! | `step` | what all threads do at once |
//! | `threads` | the threads of this host |
//! | `remote`, `generator` | the threads of other hosts, as the coordinator and as they themselves see them |
//! | `shard` | one thread: its loop, its windows |
//! | `measured`, `background` | the two kinds of clients in that loop; `background/flood` has a thread of its own |
//! | `drain` | the clients that wait for a server that stands still |
//! | `clients` | the life cycle that all clients share |
//! | `connection` | one socket: send, queue, receive |
//! | `greeting` | the client's side of the handshake |
//! | `echo_verifier`, `in_flight`, `message`, `sizes` | the messages and the verification of their echoes |
//! | `window`, `recorder`, `tally`, `littles_law`, `broadcast` | what is recorded |
//! | `schedule` | when messages are due |
//! | `histogram_text` | a histogram on its way between hosts |
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
mod generator;
mod greeting;
mod histogram_text;
mod in_flight;
mod littles_law;
mod measured;
mod message;
mod options;
pub(crate) mod progress;
mod recorder;
mod remote;
mod schedule;
mod shard;
pub(crate) mod shortage;
mod sizes;
mod state;
mod step;
pub(crate) mod tally;
mod threads;
mod tokens;
mod waiter;
mod window;

use std::{fmt, io, time::Duration};

pub(crate) use background::CohortTally;
pub(crate) use broadcast::ReceivedTick;
pub(crate) use drain::Bursts;
pub(crate) use generator::Generator;
use hdrhistogram::Histogram;
pub(crate) use options::Options;
pub(crate) use schedule::Schedule;
use schedule::Slot;
use servers::clock;
use state::State;
pub(crate) use window::{CLOCK_ERROR, HostPart, Window};

use self::{
    remote::Remote,
    step::Step,
    threads::Threads,
    window::{Common, HostWindow},
};
use crate::plan::Pacing;

/// How long the last connections of the churn are waited for.
const CHURN_PATIENCE: Duration = Duration::from_millis(500);

/// A moment of a window at which the caller may want to read something. Where generators are threads of this host, only the
/// middle is told: they take its CPUs, and begin and end with the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// It is about to begin.
    Start,
    /// The middle of an idle window.
    Middle,
    /// It is over, and what follows is not.
    End,
}

/// What a step brought.
#[derive(Debug)]
struct Carried {
    start_ns: u64,
    /// What each host measured.
    windows: Vec<HostWindow>,
    /// The same of those that are not this one, with their conditions.
    parts: Vec<HostPart>,
}

/// Those who carry out an engine's steps: the threads of this host, or of others.
trait Generators: fmt::Debug + Send {
    /// How their connections stand.
    fn state(&self) -> State;

    /// Carries out a step that begins now.
    fn carry_out(&mut self, step: Step) -> io::Result<Carried>;

    /// Carries out the step that `make` makes of the time at which it is to begin, so much later than now that every thread
    /// is ready.
    fn load(&mut self, make: &dyn Fn(u64) -> Step, at: &mut dyn FnMut(Moment)) -> io::Result<Carried>;

    /// Sends nothing until `until_ns`; its middle is at `middle_ns`.
    fn idle(&mut self, middle_ns: Option<u64>, until_ns: u64, at: &mut dyn FnMut(Moment)) -> io::Result<Carried>;

    /// Takes the slots of the next open loop.
    fn prepare(&mut self, schedule: &Schedule) -> io::Result<()>;

    /// Wastes so much time before each message.
    fn set_delay(&mut self, per_message: Duration) -> io::Result<()>;

    /// The receive lags since this was last called, in nanoseconds.
    fn take_receive_lags(&mut self) -> io::Result<Histogram<u64>>;

    /// Starts or ends the background clients.
    fn set_cohorts_active(&mut self, active: bool) -> io::Result<()>;

    /// Opens connections for bursts.
    fn open_for_bursts(&self, count: u32) -> io::Result<Box<dyn Bursts>>;
}

/// Open connections and the loops that drive them.
#[derive(Debug)]
pub(crate) struct Engine {
    generators: Box<dyn Generators>,
    state: State,
    handshake: bool,
    /// Numbers of all ticks that any connection received, in order.
    ticks_seen: Vec<u64>,
    /// The shortest time between an order and the start of its window on any other host.
    least_lead_ns: i64,
}

impl Engine {
    /// Opens every connection, at most 64 of them unanswered at a time, and waits for the first echo on each.
    ///
    /// The times and failures are in the returned window.
    ///
    /// # Errors
    /// If the kernel refuses a poll or a timer, or a generator on another host is lost. A server that cannot be reached is no
    /// error here: see [`Engine::connected`] and [`Engine::first_problem`].
    pub(crate) fn connect(options: &Options) -> io::Result<(Self, Window)> {
        let generators: Box<dyn Generators> = match &options.hosts {
            None => Box::new(Threads::new(options, 0, options.threads)?),
            Some(hosts) => Box::new(Remote::connect(options, hosts)?),
        };
        let state = generators.state();
        let (handshake, least_lead_ns) = (options.handshake, i64::MAX);
        let mut engine = Self { generators, state, handshake, ticks_seen: Vec::new(), least_lead_ns };
        let window = engine.window(0, |generators| generators.carry_out(Step::Connect))?;
        Ok((engine, window))
    }

    /// Number of open connections.
    pub(crate) fn connected(&self) -> u32 {
        self.state.live
    }

    /// The first failure of a connection, shortages of a generator's host aside.
    pub(crate) fn first_problem(&self) -> Option<&str> {
        self.state.first_problem.as_deref()
    }

    /// What a generator's host lacked when it first could not carry a connection.
    pub(crate) fn first_shortage(&self) -> Option<&str> {
        self.state.first_shortage.as_deref()
    }

    /// Whether a signal came. It has ended the window that it came in, and nothing is sent in later ones.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.state.is_interrupted
    }

    /// The newest tick that any connection has received.
    pub(crate) fn newest_tick(&self) -> Option<ReceivedTick> {
        self.state.newest_tick
    }

    /// Sleeps until a tick that is newer than `newest_tick` arrives, or until `until_ns`.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn wait_for_tick(&mut self, until_ns: u64) -> io::Result<()> {
        self.generators.carry_out(Step::WaitForTick { until_ns })?;
        self.state = self.generators.state();
        Ok(())
    }

    /// How much too late an order of a window was on another host, in nanoseconds, if one was.
    pub(crate) fn late_start_ns(&self) -> Option<u64> {
        (self.least_lead_ns < 0).then(|| self.least_lead_ns.unsigned_abs())
    }

    /// Sends nothing until `until_ns`, and receives what comes.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn idle_until(&mut self, until_ns: u64) -> io::Result<Window> {
        let planned_ns = until_ns.saturating_sub(clock::now_ns());
        self.window(planned_ns, |generators| generators.carry_out(Step::Idle { until_ns }))
    }

    /// [`idle_until`](Self::idle_until), with readings at its middle and its end; generators on this host receive nothing
    /// while the middle is read.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn idle_with(
        &mut self,
        middle_ns: Option<u64>,
        until_ns: u64,
        mut at: impl FnMut(Moment),
    ) -> io::Result<Window> {
        let planned_ns = until_ns.saturating_sub(clock::now_ns());
        self.window(planned_ns, |generators| generators.idle(middle_ns, until_ns, &mut at))
    }

    /// Opens up to `count` connections for bursts, beside the others.
    ///
    /// # Errors
    /// If the kernel refuses a poll or a timer.
    pub(crate) fn open_for_bursts(&self, count: u32) -> io::Result<Box<dyn Bursts>> {
        self.generators.open_for_bursts(count)
    }

    /// Closes the connections for bursts, and returns what was recorded of them.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn end_bursts(&mut self, bursts: Box<dyn Bursts>) -> io::Result<Window> {
        let live = bursts.state().live;
        let now_ns = clock::now_ns();
        let (hosts, start_ns) = bursts.finish()?;
        let planned_ns = now_ns.saturating_sub(start_ns);
        Ok(Window::merge(&hosts, Common { start_ns, planned_ns, live, ticks_seen: &mut self.ticks_seen }))
    }

    /// Takes the slots of the next open loop. To be called right before it, since what a message costs may depend on its
    /// number.
    ///
    /// # Errors
    /// If a generator on another host is lost.
    pub(crate) fn prepare(&mut self, schedule: &Schedule) -> io::Result<()> {
        self.generators.prepare(schedule)
    }

    /// Sends every prepared slot when it is due, for the length of `window`; then waits for the messages in flight.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn open_loop(&mut self, window: Duration, mut at: impl FnMut(Moment)) -> io::Result<Window> {
        let planned_ns = window.as_nanos() as u64;
        let make = |start_ns| Step::OpenLoop { start_ns, until_ns: start_ns + planned_ns };
        self.window(planned_ns, |generators| generators.load(&make, &mut at))
    }

    /// Keeps `depth` messages in flight on every connection for the length of `window`.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn closed_loop(
        &mut self,
        depth: u32,
        window: Duration,
        pacing: Pacing,
        mut at: impl FnMut(Moment),
    ) -> io::Result<Window> {
        let planned_ns = window.as_nanos() as u64;
        let make = |start_ns| Step::ClosedLoop { depth, start_ns, until_ns: start_ns + planned_ns, pacing };
        self.window(planned_ns, |generators| generators.load(&make, &mut at))
    }

    /// Wastes so much time before each message, until this is called again; [`Options::generator_delay`] is what an
    /// engine begins with.
    ///
    /// # Errors
    /// If a generator on another host is lost.
    pub(crate) fn set_delay(&mut self, per_message: Duration) -> io::Result<()> {
        self.generators.set_delay(per_message)
    }

    /// The receive lags since this was last called, in nanoseconds; none without [`Options::stamps_arrivals`].
    ///
    /// # Errors
    /// If a generator on another host is lost.
    pub(crate) fn take_receive_lags(&mut self) -> io::Result<Histogram<u64>> {
        self.generators.take_receive_lags()
    }

    /// Starts or ends the background clients.
    ///
    /// # Errors
    /// If the kernel refuses the flooders a poll or a thread.
    pub(crate) fn set_cohorts_active(&mut self, active: bool) -> io::Result<()> {
        if !active && self.handshake {
            self.end_churn()?;
        }
        self.generators.set_cohorts_active(active)
    }

    /// Lets the churn's connections come to their ends: the server would count a handshake that the generator cuts off as
    /// failed.
    fn end_churn(&mut self) -> io::Result<()> {
        let patience_ns = CHURN_PATIENCE.as_nanos() as u64;
        let step = Step::EndChurn { until_ns: clock::now_ns() + patience_ns };
        // What arrives meanwhile belongs to no window.
        drop(self.window(patience_ns, |generators| generators.carry_out(step))?);
        Ok(())
    }

    fn window(
        &mut self,
        planned_ns: u64,
        run: impl FnOnce(&mut dyn Generators) -> io::Result<Carried>,
    ) -> io::Result<Window> {
        let Carried { start_ns, windows, parts } = run(&mut *self.generators)?;
        self.state = self.generators.state();
        let lead_ns = parts.iter().map(|part| part.conditions.lead_ns).min();
        self.least_lead_ns = self.least_lead_ns.min(lead_ns.unwrap_or(i64::MAX));
        let common = Common { start_ns, planned_ns, live: self.state.live, ticks_seen: &mut self.ticks_seen };
        Ok(Window::merge(&windows, common).of_hosts(parts))
    }
}
