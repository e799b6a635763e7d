//! The client: connections, pacing and the check of every echo, on one thread and one poll.
//!
//! It knows an address and nothing about servers; it reads the clock and writes a [`Tally`], and judges nothing.

mod clients;
mod ledger;
mod message;
mod schedule;
mod waiter;

use std::{io, mem, net::SocketAddr, time::Duration};

pub use schedule::{Arrivals, Slot, slots};
use servers::clock;
pub use waiter::Pacing;

use self::{
    clients::{Clients, RAMP, Work},
    waiter::{INTERRUPT, Waiter},
};
use crate::tally::Tally;

/// How long messages are waited for after a window (design: drain).
const DRAIN: Duration = Duration::from_secs(1);

/// How long slots may still be sent whose turn did not come within the window; the rest counts as missed.
const CATCH_UP: Duration = Duration::from_millis(200);

/// How long the ramp may stand still before the rest of it is given up.
const RAMP_PATIENCE: Duration = Duration::from_secs(5);

/// What the connections have in common.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// How many connections.
    pub connections: u32,
    /// Size of a message in bytes, its newline included.
    pub payload_bytes: usize,
    /// TCP_NODELAY on the client's side.
    pub nodelay: bool,
    /// TCP_CONGESTION on the client's side.
    pub congestion: Option<String>,
    /// How the next slot is waited for.
    pub pacing: Pacing,
}

/// What a window measured.
#[derive(Debug)]
pub struct Window {
    /// Its histograms and counts.
    pub tally: Tally,
    /// From its start to its planned end, in nanoseconds: what rates divide by.
    pub planned_ns: u64,
    /// A signal cut it short.
    pub interrupted: bool,
}

/// A tick as the client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenTick {
    /// Its number.
    pub number: u64,
    /// When it was due, in nanoseconds of CLOCK_MONOTONIC.
    pub due_ns: u64,
}

/// Open connections and the loop that drives them.
#[derive(Debug)]
pub struct Engine {
    waiter: Waiter,
    clients: Clients,
    pacing: Pacing,
    interrupted: bool,
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
        let waiter = Waiter::new()?;
        let clients = Clients::new(options, waiter.registry()?);
        let mut engine = Self { waiter, clients, pacing: options.pacing, interrupted: false };
        loop {
            let before = engine.clients.unanswered();
            let until_ns = clock::now_ns() + RAMP_PATIENCE.as_nanos() as u64;
            engine.run(Pacing::Timer, until_ns, |clients| {
                let unanswered = clients.unanswered();
                unanswered == 0 || unanswered + RAMP <= before
            })?;
            let now = engine.clients.unanswered();
            if now == 0 || now == before || engine.is_over() {
                break;
            }
        }
        engine.clients.give_up_unanswered();
        let window = engine.window(0);
        Ok((engine, window))
    }

    /// Connections that echo.
    pub fn connected(&self) -> u32 {
        self.clients.live()
    }

    /// What the first connection that failed ran into.
    pub fn first_problem(&self) -> Option<&str> {
        self.clients.first_problem()
    }

    /// The newest tick that any connection has seen.
    pub fn newest_tick(&self) -> Option<SeenTick> {
        self.clients.newest_tick()
    }

    /// Sleeps until a tick that is newer than `newest_tick` arrives, or until `until_ns`.
    ///
    /// # Errors
    /// If polling fails.
    pub fn wait_for_tick(&mut self, until_ns: u64) -> io::Result<()> {
        let before = self.newest_tick();
        self.run(Pacing::Timer, until_ns, |clients| clients.newest_tick() != before)
    }

    /// Sends nothing until `until_ns` and takes what comes.
    ///
    /// # Errors
    /// If polling fails.
    pub fn idle_until(&mut self, until_ns: u64) -> io::Result<Window> {
        let start_ns = clock::now_ns();
        self.run(Pacing::Timer, until_ns, |_| false)?;
        Ok(self.window(until_ns.saturating_sub(start_ns)))
    }

    /// Sends every slot when it is due, for the length of `window`; then waits for what is on its way.
    ///
    /// # Errors
    /// If polling fails.
    pub fn open_loop(&mut self, slots: Vec<Slot>, window: Duration) -> io::Result<Window> {
        let planned_ns = window.as_nanos() as u64;
        let start_ns = clock::now_ns();
        self.clients.tally.counts.scheduled = slots.len() as u64;
        self.clients.work = Work::Open { slots, next: 0, start_ns };
        self.run(self.pacing, start_ns + planned_ns, |_| false)?;
        self.clients.tally.counts.echoed_in_time = self.clients.tally.counts.echoed;
        // A generator that is late at the end owes the last slots all the same.
        let grace_ns = clock::now_ns() + CATCH_UP.as_nanos() as u64;
        self.run(self.pacing, grace_ns, |clients| clients.next_due_ns().is_none())?;
        if self.clients.live() == 0 {
            // The server left nobody to send them to: that the rest had no turn is not the generator's fault.
            self.clients.tally.counts.handled = self.clients.tally.counts.scheduled;
        }
        self.finish(self.pacing, planned_ns)
    }

    /// Keeps `depth` messages under way on every connection for the length of `window`.
    ///
    /// # Errors
    /// If polling fails.
    pub fn closed_loop(&mut self, depth: u32, window: Duration, pacing: Pacing) -> io::Result<Window> {
        let planned_ns = window.as_nanos() as u64;
        let until_ns = clock::now_ns() + planned_ns;
        self.clients.start_closed_loop(depth, until_ns);
        self.run(pacing, until_ns, |_| false)?;
        self.clients.tally.counts.echoed_in_time = self.clients.tally.counts.echoed;
        self.finish(pacing, planned_ns)
    }

    /// Ends a window: no more is sent, what is on its way is waited for, what does not come is lost.
    fn finish(&mut self, pacing: Pacing, planned_ns: u64) -> io::Result<Window> {
        self.clients.work = Work::None;
        let until_ns = clock::now_ns() + DRAIN.as_nanos() as u64;
        self.run(pacing, until_ns, |clients| clients.in_flight() == 0)?;
        self.clients.settle();
        Ok(self.window(planned_ns))
    }

    /// Runs the loop until a time, until `done`, until a signal, or until no connection is left.
    fn run(&mut self, pacing: Pacing, until_ns: u64, done: impl Fn(&Clients) -> bool) -> io::Result<()> {
        while !self.is_over() && !done(&self.clients) {
            self.clients.open_more();
            let now_ns = clock::now_ns();
            if now_ns >= until_ns {
                return Ok(());
            }
            self.clients.send_due(now_ns);
            let next_ns = self.clients.next_due_ns().map_or(until_ns, |due_ns| due_ns.min(until_ns));
            for event in self.waiter.wait(pacing, next_ns)? {
                if event.token() == INTERRUPT {
                    self.interrupted = true;
                } else if let Some(now_ns) = self.clients.on_event(event) {
                    // A slot may have come due while a batch of answers is read.
                    self.clients.send_due(now_ns);
                }
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.interrupted || (self.clients.live() == 0 && self.clients.unanswered() == 0)
    }

    fn window(&mut self, planned_ns: u64) -> Window {
        Window { tally: mem::take(&mut self.clients.tally), planned_ns, interrupted: self.interrupted }
    }
}
