//! One thread of the engine: its poll, its clients, and the loop that runs them.

mod bursts;
mod steps;

use std::{io, mem, sync::Arc, time::Duration};

use hdrhistogram::Histogram;
use protocol::work::Work;
use servers::clock;

use super::{
    Options, Slot,
    background::BackgroundClients,
    broadcast::ReceivedTick,
    measured::MeasuredClients,
    progress::Progress,
    recorder::{Response, WindowRecorder},
    tokens::EventSource,
    waiter::Waiter,
    window::ShardWindow,
};
use crate::{
    hosts::ClockMap,
    observe::{self, ThreadUsage},
    plan::Pacing,
};

/// How long messages are waited for after a window.
const DRAIN: Duration = Duration::from_secs(1);

/// How long they are waited for once that was in vain, so that an unresponsive server does not cost a second per window.
const DRAIN_IN_VAIN: Duration = Duration::from_millis(100);

/// The longest pause that every host makes now and then: messages in flight so long after a window are a backlog.
const PAUSE: Duration = Duration::from_millis(20);

/// How long after a window late slots may still be sent; the rest counts as missed.
const CATCH_UP: Duration = Duration::from_millis(200);

/// How long the ramp may make no progress before the rest of it is given up.
const RAMP_PATIENCE: Duration = Duration::from_secs(5);

/// Connections opened and not yet answered, over all threads: connect completes before accept, so more would only fill
/// the backlog of the listener.
const RAMP: usize = 64;

/// One thread's clients and the loop that drives them.
#[derive(Debug)]
pub(crate) struct Shard {
    waiter: Waiter,
    measured: MeasuredClients,
    background: BackgroundClients,
    pacing: Pacing,
    /// What the next open loop sends.
    slots: Vec<Slot>,
    /// Room for the responses to the slots.
    responses: Vec<Response>,
    /// Connections that may be unanswered during the ramp.
    ramp: usize,
    /// What the thread had used when the window began.
    usage_before: ThreadUsage,
    /// Time in rounds of the loop that had something to do, in nanoseconds.
    busy_ns: u64,
    /// How long messages are waited for.
    patience: Duration,
    progress: Arc<Progress>,
    /// Echoes that are reported to the progress.
    reported: u64,
    /// When a signal came, if one did: nothing is sent from then on.
    interrupted_ns: Option<u64>,
}

impl Shard {
    /// Thread `index` of `threads`.
    pub(crate) fn new(options: &Options, index: u32, threads: u32) -> io::Result<Self> {
        let waiter = Waiter::new()?;
        let measured = MeasuredClients::measured(options, waiter.registry()?, index, threads);
        let cohorts = options.cohorts.share(index, threads);
        let background = BackgroundClients::background(options, waiter.registry()?, cohorts);
        Ok(Self {
            waiter,
            measured,
            background,
            pacing: options.pacing,
            slots: Vec::new(),
            responses: Vec::new(),
            ramp: (RAMP / threads as usize).max(1),
            usage_before: ThreadUsage::default(),
            busy_ns: 0,
            patience: DRAIN,
            progress: Arc::clone(&options.progress),
            reported: 0,
            interrupted_ns: None,
        })
    }

    pub(crate) fn live(&self) -> u32 {
        self.measured.live()
    }

    pub(crate) fn first_problem(&self) -> Option<&str> {
        self.measured.first_problem()
    }

    pub(crate) fn first_shortage(&self) -> Option<&str> {
        self.measured.first_shortage()
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted_ns.is_some()
    }

    pub(crate) fn newest_tick(&self) -> Option<&ReceivedTick> {
        self.measured.newest_tick()
    }

    /// The server's times are by the other clock from now on.
    pub(crate) fn set_server_clock(&mut self, clock: ClockMap) {
        self.measured.set_server_clock(clock);
    }

    /// Opens every connection and waits for the first echo on each.
    fn connect(&mut self) -> io::Result<ShardWindow> {
        self.begin(WindowRecorder::default());
        self.ramp(RAMP_PATIENCE)?;
        if self.is_interrupted() {
            self.measured.forget_unanswered();
        } else {
            self.measured.give_up_unanswered();
        }
        Ok(self.take_window())
    }

    /// Opens as many connections as the server and this host carry. Returns also why the first of the others was not.
    pub(crate) fn connect_some(&mut self, patience: Duration) -> io::Result<(ShardWindow, Option<String>)> {
        self.begin(WindowRecorder::default());
        self.ramp(patience)?;
        let why_not = self.measured.settle_for_the_answered();
        Ok((self.take_window(), why_not))
    }

    /// Opens connections until each has answered, or none does for so long.
    fn ramp(&mut self, patience: Duration) -> io::Result<()> {
        loop {
            let before = self.measured.unanswered();
            let until_ns = clock::now_ns() + patience.as_nanos() as u64;
            let step = self.ramp;
            self.run(Pacing::Timer, until_ns, |measured| {
                let unanswered = measured.unanswered();
                unanswered == 0 || unanswered + step <= before
            })?;
            let now = self.measured.unanswered();
            if now == 0 || now == before || self.is_over() {
                return Ok(());
            }
        }
    }

    /// Sleeps until a tick that is newer than the newest arrives, or until `until_ns`.
    fn wait_for_tick(&mut self, until_ns: u64) -> io::Result<()> {
        let number = |measured: &MeasuredClients| measured.newest_tick().map(|tick| tick.number);
        let before = number(&self.measured);
        self.run(Pacing::Timer, until_ns, |measured| number(measured) != before)
    }

    /// Sends nothing until `until_ns`, and receives what comes.
    fn idle_until(&mut self, until_ns: u64) -> io::Result<ShardWindow> {
        self.begin_idle(until_ns);
        self.end_idle(until_ns)
    }

    /// Begins a window without messages, which is to last until `until_ns`.
    pub(crate) fn begin_idle(&mut self, until_ns: u64) {
        self.begin(WindowRecorder::new(clock::now_ns(), until_ns, Vec::new()));
    }

    /// Receives what comes until `until_ns`, in a window or between two.
    pub(crate) fn receive_until(&mut self, until_ns: u64) -> io::Result<()> {
        if clock::now_ns() >= until_ns {
            // At least what is there.
            return self.wait(Pacing::Spin, 0).map(drop);
        }
        self.run(Pacing::Timer, until_ns, |_| false)
    }

    /// Ends a window without messages at `until_ns`.
    pub(crate) fn end_idle(&mut self, until_ns: u64) -> io::Result<ShardWindow> {
        self.receive_until(until_ns)?;
        Ok(self.take_window())
    }

    /// [`MeasuredClients::mark_light`].
    pub(crate) fn mark_light<'a>(&mut self, slots: impl Iterator<Item = &'a mut Slot>, work: &Work) {
        self.measured.mark_light(slots, work);
    }

    /// Takes the slots of the next open loop, and allocates what their responses will need before its window begins.
    pub(crate) fn prepare(&mut self, slots: Vec<Slot>) {
        self.responses = WindowRecorder::room_for(slots.len());
        self.slots = slots;
    }

    /// Sends every prepared slot when it is due, until `until_ns`; then waits for the messages in flight.
    fn open_loop(&mut self, start_ns: u64, until_ns: u64) -> io::Result<ShardWindow> {
        let (slots, responses) = (mem::take(&mut self.slots), mem::take(&mut self.responses));
        self.begin(WindowRecorder::new(start_ns, until_ns, responses));
        self.measured.start_open_loop(slots, start_ns);
        self.run(self.pacing, until_ns, |_| false)?;
        let until_ns = self.interrupted_ns.unwrap_or(until_ns);
        self.measured.end_sending(until_ns);
        let pause_ns = clock::now_ns().max(until_ns) + PAUSE.as_nanos() as u64;
        self.drain(self.pacing, pause_ns, |measured| measured.next_due_ns().is_none() && measured.in_flight() == 0)?;
        self.measured.mark_backlog();
        // A generator that is late at the end still sends the last slots.
        let grace_ns = clock::now_ns() + CATCH_UP.as_nanos() as u64;
        self.drain(self.pacing, grace_ns, |measured| measured.next_due_ns().is_none())?;
        self.measured.drop_schedule();
        self.finish(self.pacing)
    }

    /// Keeps `depth` messages in flight on every connection until `until_ns`.
    fn closed_loop(&mut self, depth: u32, until_ns: u64, pacing: Pacing) -> io::Result<ShardWindow> {
        self.begin(WindowRecorder::new(clock::now_ns(), until_ns, Vec::new()));
        self.measured.start_closed_loop(depth, until_ns);
        self.run(pacing, until_ns, |_| false)?;
        self.measured.end_sending(self.interrupted_ns.unwrap_or(until_ns));
        self.finish(pacing)
    }

    /// Wastes so much time before each message from now on.
    pub(crate) fn set_delay(&mut self, per_message: Duration) {
        self.measured.set_delay(per_message);
    }

    /// The receive lags of the measured clients since this was last called, if arrivals are stamped.
    pub(crate) fn take_receive_lags(&mut self) -> Option<Histogram<u64>> {
        self.measured.take_receive_lags()
    }

    /// Starts or ends the background clients.
    pub(crate) fn set_background_active(&mut self, active: bool) {
        if active { self.background.start(clock::now_ns()) } else { self.background.stop() }
    }

    /// Opens no further connection of the churn, and receives until its last one has ended, at most until `until_ns`.
    fn end_churn(&mut self, until_ns: u64) -> io::Result<ShardWindow> {
        self.begin_idle(until_ns);
        self.background.end_churn();
        self.turn(Pacing::Timer, until_ns, |shard| shard.is_interrupted() || !shard.background.has_churn())?;
        Ok(self.take_window())
    }

    /// Begins a window.
    fn begin(&mut self, recorder: WindowRecorder) {
        self.usage_before = observe::thread_usage();
        self.measured.record_into(recorder);
        self.busy_ns = 0;
        self.reported = 0;
    }

    /// Ends a window: nothing more is sent, and messages in flight are waited for. If some do not come within a pause,
    /// markers distinguish lost ones from late ones.
    fn finish(&mut self, pacing: Pacing) -> io::Result<ShardWindow> {
        let begun_ns = clock::now_ns();
        for (patience, sends_markers) in [(PAUSE, true), (self.patience, false)] {
            self.drain(pacing, begun_ns + patience.as_nanos() as u64, |measured| measured.in_flight() == 0)?;
            if sends_markers && self.measured.in_flight() > 0 {
                self.measured.send_markers();
            }
        }
        if self.measured.in_flight() > 0 {
            self.patience = DRAIN_IN_VAIN;
        }
        self.measured.settle();
        Ok(self.take_window())
    }

    fn take_window(&mut self) -> ShardWindow {
        let (tally, responses) = self.measured.take_record().finish();
        ShardWindow {
            tally,
            cohorts: self.background.take_tallies(),
            responses,
            ticks: self.measured.take_ticks(),
            usage: observe::thread_usage().since(&self.usage_before),
            busy_ns: self.busy_ns,
            interrupted_ns: self.interrupted_ns,
        }
    }

    /// Runs the loop until a time, until `done`, until a signal, or until no connection is left.
    fn run(&mut self, pacing: Pacing, until_ns: u64, done: impl Fn(&MeasuredClients) -> bool) -> io::Result<()> {
        self.turn(pacing, until_ns, |shard| shard.is_over() || done(&shard.measured))
    }

    /// Runs the loop until a time, until `done`, or until no connection is left; a signal does not end it.
    fn drain(&mut self, pacing: Pacing, until_ns: u64, done: impl Fn(&MeasuredClients) -> bool) -> io::Result<()> {
        self.turn(pacing, until_ns, |shard| shard.is_abandoned() || done(&shard.measured))
    }

    fn turn(&mut self, pacing: Pacing, until_ns: u64, is_over: impl Fn(&Self) -> bool) -> io::Result<()> {
        // When the last round began, if it had something to do.
        let mut busy_since_ns = None;
        while !is_over(self) {
            self.measured.open_more(self.ramp);
            let now_ns = clock::now_ns();
            if let Some(since_ns) = busy_since_ns.take() {
                self.busy_ns += now_ns - since_ns;
            }
            if now_ns >= until_ns {
                return Ok(());
            }
            self.report_progress();
            let acted = self.measured.send_due(now_ns)
                | self.background.act(now_ns)
                | self.background.read_on()
                | self.measured.read_on();
            let received = self.wait(pacing, until_ns)?;
            // With a timer a round includes its sleep, which is no work; the thread's CPU time is used instead.
            if acted || received {
                busy_since_ns = Some(now_ns).filter(|_| pacing == Pacing::Spin);
            }
        }
        Ok(())
    }

    /// Waits for the next slot or event and handles what is ready; returns whether anything was.
    fn wait(&mut self, pacing: Pacing, until_ns: u64) -> io::Result<bool> {
        // No event announces what was left unread.
        let has_unread = self.measured.has_unread() || self.background.has_unread();
        let pacing = if has_unread { Pacing::Spin } else { pacing };
        let due_ns = [self.measured.next_due_ns(), self.background.next_due_ns()].into_iter().flatten().min();
        let next_ns = due_ns.map_or(until_ns, |due_ns| due_ns.min(until_ns));
        let mut received = false;
        for event in self.waiter.wait(pacing, next_ns)? {
            received = true;
            match EventSource::of(event.token()) {
                EventSource::Measured(index) => {
                    if let Some(now_ns) = self.measured.on_event(index, event) {
                        // A slot may have come due while a batch of answers was read.
                        self.measured.send_due(now_ns);
                    }
                }
                EventSource::Background { index, generation } => {
                    if self.background.is_current(index, generation) {
                        self.background.on_event(index, event);
                    }
                    self.measured.send_due(clock::now_ns());
                }
                EventSource::Signal => self.interrupted_ns = Some(clock::now_ns()),
                EventSource::Flooder(_) | EventSource::Timer | EventSource::Waker => {}
            }
        }
        Ok(received)
    }

    /// Reports to the progress now and then, so that a line shared with another CPU is not written per message.
    fn report_progress(&mut self) {
        const STEP: u64 = 256;
        let echoed = self.measured.echoed();
        if echoed >= self.reported + STEP {
            self.progress.add_echoed(echoed - self.reported);
            self.reported = echoed;
        }
    }

    fn is_over(&self) -> bool {
        self.is_interrupted() || self.is_abandoned()
    }

    /// Whether no connection is left, nor any that may still open.
    fn is_abandoned(&self) -> bool {
        self.measured.are_wanted() && self.measured.live() == 0 && self.measured.unanswered() == 0
    }
}
