//! One thread of the engine: its poll, its connections, and the loop that runs them.

use std::{io, mem, sync::Arc, time::Duration};

use servers::clock;

use super::{
    CohortTally, Options, Slot,
    background::Background,
    broadcast::{Tick, TickBatch},
    measured::{Clients, Work},
    tokens::EventSource,
    waiter::Waiter,
};
use crate::{
    engine::{progress::Progress, tally::Tally},
    plan::Pacing,
};

/// How long messages are waited for after a window.
const DRAIN: Duration = Duration::from_secs(1);

/// The same once they were waited for in vain: a server that does not answer shall not cost a second a window.
const DRAIN_IN_VAIN: Duration = Duration::from_millis(100);

/// A pause that every host makes now and then: what a server still owes so long after a window is a backlog.
const PAUSE: Duration = Duration::from_millis(20);

/// How long slots may still be sent whose turn did not come within the window; the rest counts as missed.
const CATCH_UP: Duration = Duration::from_millis(200);

/// How long the ramp may stand still before the rest of it is given up.
const RAMP_PATIENCE: Duration = Duration::from_secs(5);

/// Connections opened and not yet answered, over all threads: connect completes before accept, so more would only fill
/// the backlog.
const RAMP: usize = 64;

/// What one thread counted in one window.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) tally: Tally,
    pub(super) ticks: TickBatch,
    pub(super) responses: Vec<(u64, u64)>,
    pub(super) cohorts: [CohortTally; 3],
    pub(super) busy_ns: u64,
    /// When a signal ended it, if one did.
    pub(super) interrupted_ns: Option<u64>,
}

/// One thread's connections and the loop that drives them.
#[derive(Debug)]
pub(super) struct Shard {
    waiter: Waiter,
    clients: Clients,
    background: Background,
    pacing: Pacing,
    /// What the next open loop sends.
    slots: Vec<Slot>,
    /// Connections that may be unanswered during the ramp.
    ramp: usize,
    /// Time in rounds of the loop that had something to do, in nanoseconds.
    busy_ns: u64,
    /// How long messages are waited for.
    patience: Duration,
    progress: Arc<Progress>,
    /// Echoes that the progress knows of.
    shown: u64,
    /// When a signal came, if one did: nothing is sent from then on.
    interrupted_ns: Option<u64>,
}

impl Shard {
    /// Thread `index` of `threads`.
    pub(super) fn new(options: &Options, index: u32, threads: u32) -> io::Result<Self> {
        let waiter = Waiter::new()?;
        let clients = Clients::new(options, waiter.registry()?, index, threads);
        let background = Background::new(options, waiter.registry()?, options.cohorts.part(index, threads));
        let ramp = (RAMP / threads as usize).max(1);
        Ok(Self {
            waiter,
            clients,
            background,
            pacing: options.pacing,
            slots: Vec::new(),
            ramp,
            busy_ns: 0,
            patience: DRAIN,
            progress: Arc::clone(&options.progress),
            shown: 0,
            interrupted_ns: None,
        })
    }

    pub(super) fn live(&self) -> u32 {
        self.clients.live()
    }

    pub(super) fn first_problem(&self) -> Option<&str> {
        self.clients.first_problem()
    }

    pub(super) fn first_shortage(&self) -> Option<&str> {
        self.clients.first_shortage()
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted_ns.is_some()
    }

    pub(super) fn newest_tick(&self) -> Option<&Tick> {
        self.clients.broadcasts.newest()
    }

    /// Opens every connection and waits for the first echo on each.
    pub(super) fn connect(&mut self) -> io::Result<Part> {
        loop {
            let before = self.clients.unanswered();
            let until_ns = clock::now_ns() + RAMP_PATIENCE.as_nanos() as u64;
            let step = self.ramp;
            self.run(Pacing::Timer, until_ns, |clients| {
                let unanswered = clients.unanswered();
                unanswered == 0 || unanswered + step <= before
            })?;
            let now = self.clients.unanswered();
            if now == 0 || now == before || self.is_over() {
                break;
            }
        }
        if self.interrupted_ns.is_some() {
            self.clients.forget_unanswered();
        } else {
            self.clients.give_up_unanswered();
        }
        Ok(self.part())
    }

    /// Sleeps until a tick that is newer than the newest arrives, or until `until_ns`.
    pub(super) fn wait_for_tick(&mut self, until_ns: u64) -> io::Result<()> {
        let number = |clients: &Clients| clients.broadcasts.newest().map(|tick| tick.number);
        let before = number(&self.clients);
        self.run(Pacing::Timer, until_ns, |clients| number(clients) != before)
    }

    /// Sends nothing until `until_ns` and takes what comes.
    pub(super) fn idle_until(&mut self, until_ns: u64) -> io::Result<Part> {
        self.begin(clock::now_ns(), until_ns);
        self.run(Pacing::Timer, until_ns, |_| false)?;
        Ok(self.part())
    }

    /// Makes room for what the slots will bring, before their window begins.
    pub(super) fn prepare(&mut self, slots: Vec<Slot>) {
        let responses = &mut self.clients.responses;
        *responses = Vec::with_capacity(slots.len());
        // Written once, so that no page has to be made when the answers come.
        responses.resize(slots.len(), (1, 1));
        responses.clear();
        self.slots = slots;
    }

    /// Sends every prepared slot when it is due, until `until_ns`; then waits for what is on its way.
    pub(super) fn open_loop(&mut self, start_ns: u64, until_ns: u64) -> io::Result<Part> {
        self.begin(start_ns, until_ns);
        let slots = mem::take(&mut self.slots);
        self.clients.tally.counts.scheduled = slots.len() as u64;
        self.clients.work = Work::Open { slots, next: 0, start_ns };
        self.run(self.pacing, until_ns, |_| false)?;
        self.clients.tally.counts.echoed_in_time = self.clients.tally.counts.echoed;
        let until_ns = self.interrupted_ns.unwrap_or(until_ns);
        self.clients.stop_at(until_ns);
        let pause_ns = clock::now_ns().max(until_ns) + PAUSE.as_nanos() as u64;
        self.drain(self.pacing, pause_ns, |clients| clients.next_due_ns().is_none() && clients.in_flight() == 0)?;
        self.clients.tally.counts.backlog = self.clients.in_flight() as u64;
        // A generator that is late at the end owes the last slots all the same.
        let grace_ns = clock::now_ns() + CATCH_UP.as_nanos() as u64;
        self.drain(self.pacing, grace_ns, |clients| clients.next_due_ns().is_none())?;
        if self.clients.live() == 0 {
            // The server left nobody to send them to: that the rest had no turn is not the generator's fault.
            self.clients.tally.counts.handled = self.clients.tally.counts.scheduled;
        }
        self.clients.work = Work::None;
        self.finish(self.pacing)
    }

    /// Keeps `depth` messages under way on every connection until `until_ns`.
    pub(super) fn closed_loop(&mut self, depth: u32, until_ns: u64, pacing: Pacing) -> io::Result<Part> {
        self.begin(clock::now_ns(), until_ns);
        self.clients.start_closed_loop(depth, until_ns);
        self.run(pacing, until_ns, |_| false)?;
        self.clients.tally.counts.echoed_in_time = self.clients.tally.counts.echoed;
        self.clients.stop_at(self.interrupted_ns.unwrap_or(until_ns));
        self.finish(pacing)
    }

    /// Starts or ends the bad clients.
    pub(super) fn set_background_active(&mut self, active: bool) {
        if active { self.background.start(clock::now_ns()) } else { self.background.stop() }
    }

    fn begin(&mut self, start_ns: u64, until_ns: u64) {
        self.clients.tally = Tally::new(start_ns, until_ns.saturating_sub(start_ns).div_ceil(1_000_000_000));
        self.busy_ns = 0;
        self.shown = 0;
    }

    /// Ends a window: no more is sent and what is on its way is waited for. What does not come after a pause is asked
    /// for, so that what is lost is told from what is late.
    fn finish(&mut self, pacing: Pacing) -> io::Result<Part> {
        let begun_ns = clock::now_ns();
        for (patience, asks) in [(PAUSE, true), (self.patience, false)] {
            self.drain(pacing, begun_ns + patience.as_nanos() as u64, |clients| clients.in_flight() == 0)?;
            if asks && self.clients.in_flight() > 0 {
                self.clients.send_markers();
            }
        }
        if self.clients.in_flight() > 0 {
            self.patience = DRAIN_IN_VAIN;
        }
        self.clients.settle();
        self.clients.work = Work::None;
        Ok(self.part())
    }

    /// Runs the loop until a time, until `done`, until a signal, or until no connection is left.
    fn run(&mut self, pacing: Pacing, until_ns: u64, done: impl Fn(&Clients) -> bool) -> io::Result<()> {
        self.turn(pacing, until_ns, |shard| shard.is_over() || done(&shard.clients))
    }

    /// The same for what is still under way, which is waited for even if a signal has come.
    fn drain(&mut self, pacing: Pacing, until_ns: u64, done: impl Fn(&Clients) -> bool) -> io::Result<()> {
        self.turn(pacing, until_ns, |shard| shard.is_abandoned() || done(&shard.clients))
    }

    fn turn(&mut self, pacing: Pacing, until_ns: u64, is_over: impl Fn(&Self) -> bool) -> io::Result<()> {
        // When a round began that had something to do.
        let mut busy_since_ns = None;
        while !is_over(self) {
            self.clients.open_more(self.ramp);
            let now_ns = clock::now_ns();
            if let Some(since_ns) = busy_since_ns.take() {
                self.busy_ns += now_ns - since_ns;
            }
            if now_ns >= until_ns {
                return Ok(());
            }
            self.show();
            let acted = self.clients.send_due(now_ns) | self.background.act(now_ns) | self.clients.read_on();
            let received = self.wait(pacing, until_ns)?;
            // A timer's sleep is no work, and its rounds are not counted: the thread's CPU time tells.
            if acted || received {
                busy_since_ns = Some(now_ns).filter(|_| pacing == Pacing::Spin);
            }
        }
        Ok(())
    }

    /// Waits for the next slot or event and takes care of what is ready; says whether anything was.
    fn wait(&mut self, pacing: Pacing, until_ns: u64) -> io::Result<bool> {
        // What lies unread is announced by no event.
        let pacing = if self.clients.has_unread() { Pacing::Spin } else { pacing };
        let due_ns = [self.clients.next_due_ns(), self.background.next_due_ns()].into_iter().flatten().min();
        let next_ns = due_ns.map_or(until_ns, |due_ns| due_ns.min(until_ns));
        let mut received = false;
        for event in self.waiter.wait(pacing, next_ns)? {
            received = true;
            match EventSource::of(event.token()) {
                EventSource::Measured(index) => {
                    if let Some(now_ns) = self.clients.on_event(index, event) {
                        // A slot may have come due while a batch of answers is read.
                        self.clients.send_due(now_ns);
                    }
                }
                EventSource::Background { index, generation } => {
                    self.background.on_event(index, generation, event);
                    self.clients.send_due(clock::now_ns());
                }
                EventSource::Signal => self.interrupted_ns = Some(clock::now_ns()),
                EventSource::Flooder(_) | EventSource::Timer | EventSource::Waker => {}
            }
        }
        Ok(received)
    }

    /// Now and then, so that a line shared with another CPU is not written for every message.
    fn show(&mut self) {
        const STEP: u64 = 256;
        let echoed = self.clients.tally.counts.echoed;
        if echoed >= self.shown + STEP {
            self.progress.add_echoed(echoed - self.shown);
            self.shown = echoed;
        }
    }

    fn is_over(&self) -> bool {
        self.interrupted_ns.is_some() || self.is_abandoned()
    }

    /// Whether the server has left nobody to talk to.
    fn is_abandoned(&self) -> bool {
        self.clients.are_wanted() && self.clients.live() == 0 && self.clients.unanswered() == 0
    }

    fn part(&mut self) -> Part {
        let mut tally = mem::take(&mut self.clients.tally);
        tally.counts.under_way_ns = self.clients.littles_law.take_ns();
        Part {
            tally,
            ticks: self.clients.broadcasts.take_batch(),
            responses: mem::take(&mut self.clients.responses),
            cohorts: self.background.take(),
            busy_ns: self.busy_ns,
            interrupted_ns: self.interrupted_ns,
        }
    }
}
