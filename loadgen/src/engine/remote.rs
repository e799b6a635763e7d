//! The threads of other hosts, as the coordinator sees them: each step is sent to every host, and nothing else travels until
//! it is over.

use std::{io, time::Duration};

use hdrhistogram::Histogram;
use servers::clock;

use super::{
    Carried, Generators, Moment, Options, Schedule, State,
    drain::{Bursts, Sent},
    generator::{Answer, Order, Share},
    step::Step,
    tally,
    window::{HostConditions, HostPart, HostWindow},
};
use crate::{
    hosts::{ClockMap, HostClock, Hosts, Links},
    plan::Cohorts,
};

/// How much later than now a window begins: an order takes a round trip, and to read it some time.
const LEAD: Duration = Duration::from_millis(50);

/// How long a host may be silent beyond the end of what it does.
const SILENCE: Duration = Duration::from_secs(5);

/// How long after a window messages may be waited for.
const DRAIN: Duration = Duration::from_millis(1_500);

/// How long a host may take for what takes no time.
const AT_ONCE: Duration = SILENCE;

/// How long connections may take to be opened, together and each: a server may be slow, and one that does not accept is
/// given up after a while.
const RAMP: Duration = Duration::from_secs(12);
const RAMP_EACH: Duration = Duration::from_millis(80);

/// How long before the start of a window the caller reads what it wants to know of it.
const READING: Duration = Duration::from_millis(2);

/// How long before a server goes on its clients spin.
const SPIN_UP: Duration = Duration::from_millis(5);

/// How long a comparison of the clocks holds.
const FRESH: Duration = Duration::from_millis(100);

/// The engine's threads on other hosts.
#[derive(Debug)]
pub(super) struct Remote {
    hosts: Hosts,
    clocks: Vec<HostClock>,
    /// When they were last compared.
    probed_ns: u64,
    states: Vec<State>,
    connections: u32,
}

impl Remote {
    /// Gives each host its share of the connections, none of which is open yet.
    ///
    /// # Errors
    /// If a host is lost.
    pub(super) fn connect(options: &Options, hosts: &Hosts) -> io::Result<Self> {
        let own = hosts.hellos().into_iter().map(|hello| hello.threads);
        let count = hosts.links().len() as u32;
        let mut first_thread = 0;
        let shares: Vec<Share> = own
            .zip(0..)
            .map(|(own, index)| {
                let share = share(options, first_thread, [index, count]);
                first_thread += own;
                share
            })
            .collect();
        let remote = Self {
            hosts: hosts.clone(),
            clocks: vec![HostClock::default(); count as usize],
            probed_ns: 0,
            states: vec![State::default(); count as usize],
            connections: options.connections,
        };
        remote.ask(AT_ONCE, |index, _| Order::Begin(Box::new(shares[index].clone())))?;
        Ok(remote)
    }

    /// Sends an order to each host, and waits for all answers, which have `patience` to come.
    fn ask(&self, patience: Duration, order: impl Fn(usize, &ClockMap) -> Order) -> io::Result<Vec<Answer>> {
        let mut links = self.hosts.links();
        self.send_to(&mut links, order)?;
        links.answers(deadline_ns(patience))
    }

    fn send_to(&self, links: &mut Links, order: impl Fn(usize, &ClockMap) -> Order) -> io::Result<()> {
        for (index, (host, clock)) in links.iter_mut().zip(&self.clocks).enumerate() {
            host.order(&order(index, &clock.map))?;
        }
        Ok(())
    }

    /// Compares the clocks, unless that was just done.
    fn freshen_clocks(&mut self) -> io::Result<()> {
        if clock::now_ns().saturating_sub(self.probed_ns) >= FRESH.as_nanos() as u64 {
            self.clocks = self.hosts.links().iter_mut().map(|host| host.probe_clock()).collect::<io::Result<_>>()?;
            self.probed_ns = clock::now_ns();
        }
        Ok(())
    }

    /// What the hosts measured, by this host's clock, and the error of their clocks now that it is over.
    fn measured(&mut self, start_ns: u64, answers: Vec<Answer>) -> io::Result<Carried> {
        let before = self.clocks.clone();
        self.freshen_clocks()?;
        let (mut windows, mut parts) = (Vec::new(), Vec::new());
        for (index, answer) in answers.into_iter().enumerate() {
            let Answer::Measured { window, state, lead_ns } = answer else { return Err(nonsense()) };
            let map = before[index].map;
            self.states[index] = state.here(&map);
            let clock = HostClock { map, error_ns: self.clocks[index].error_ns };
            let conditions = HostConditions { live: self.states[index].live, lead_ns, clock };
            let window = window.here(&map);
            parts.push(HostPart { window: window.clone(), conditions });
            windows.push(window);
        }
        Ok(Carried { start_ns, windows, parts })
    }

    fn patience(&self, step: Step) -> Duration {
        let until_ns = step
            .until_ns()
            .map_or(Duration::ZERO, |until_ns| DRAIN + Duration::from_nanos(until_ns.saturating_sub(clock::now_ns())));
        let ramp = if step == Step::Connect { RAMP + RAMP_EACH * self.connections } else { Duration::ZERO };
        until_ns + ramp + SILENCE
    }
}

/// What a host is to do in a trial with these options.
fn share(options: &Options, first_thread: u32, [index, count]: [u32; 2]) -> Share {
    let flooders = (index..options.cohorts.flooders).step_by(count as usize).len() as u32;
    Share {
        port: options.addr.port(),
        connections: options.connections,
        threads: options.threads,
        first_thread,
        host: [index, count],
        payloads: options.payloads.clone(),
        pacing: options.pacing,
        nodelay: options.nodelay,
        congestion: options.congestion.clone(),
        handshake: options.handshake,
        generator_delay: options.generator_delay,
        stamps_arrivals: options.stamps_arrivals,
        cohorts: Cohorts { flooders, ..options.cohorts },
        fan_out_span_ns: options.fan_out_span_ns,
    }
}

/// The order to carry out a step, by a host's clock.
fn step_order(step: Step) -> impl Fn(usize, &ClockMap) -> Order {
    move |_, clock| Order::Step { step: step.there(clock), server_clock: *clock }
}

fn sleep_until(at_ns: u64) {
    std::thread::sleep(Duration::from_nanos(at_ns.saturating_sub(clock::now_ns())));
}

fn deadline_ns(patience: Duration) -> u64 {
    clock::now_ns() + patience.as_nanos() as u64
}

/// The builds are the same, so this is a fault of ours.
fn nonsense() -> io::Error {
    io::Error::other("a generator's answer does not fit its order")
}

impl Generators for Remote {
    fn state(&self) -> State {
        State::sum(&self.states)
    }

    fn carry_out(&mut self, step: Step) -> io::Result<Carried> {
        self.freshen_clocks()?;
        let start_ns = clock::now_ns();
        let answers = self.ask(self.patience(step), step_order(step))?;
        self.measured(start_ns, answers)
    }

    fn load(&mut self, make: &dyn Fn(u64) -> Step, at: &mut dyn FnMut(Moment)) -> io::Result<Carried> {
        self.freshen_clocks()?;
        let start_ns = clock::now_ns() + LEAD.as_nanos() as u64;
        let step = make(start_ns);
        self.send_to(&mut self.hosts.links(), step_order(step))?;
        sleep_until(start_ns.saturating_sub(READING.as_nanos() as u64));
        at(Moment::Start);
        let answers = self.hosts.links().answers(deadline_ns(self.patience(step)))?;
        at(Moment::End);
        self.measured(start_ns, answers)
    }

    fn idle(&mut self, middle_ns: Option<u64>, until_ns: u64, at: &mut dyn FnMut(Moment)) -> io::Result<Carried> {
        self.freshen_clocks()?;
        let (step, start_ns) = (Step::Idle { until_ns }, clock::now_ns());
        self.send_to(&mut self.hosts.links(), step_order(step))?;
        if let Some(middle_ns) = middle_ns {
            sleep_until(middle_ns);
            at(Moment::Middle);
        }
        // The window is over then, whenever the answers come.
        sleep_until(until_ns);
        at(Moment::End);
        let answers = self.hosts.links().answers(deadline_ns(self.patience(step)))?;
        self.measured(start_ns, answers)
    }

    fn prepare(&mut self, schedule: &Schedule) -> io::Result<()> {
        // Every host draws the whole schedule, of which it takes its own slots.
        let draws = schedule.length / 4;
        self.ask(AT_ONCE + draws, |_, _| Order::Prepare(schedule.clone())).map(drop)
    }

    fn set_delay(&mut self, per_message: Duration) -> io::Result<()> {
        self.ask(AT_ONCE, |_, _| Order::SetDelay(per_message)).map(drop)
    }

    fn take_receive_lags(&mut self) -> io::Result<Histogram<u64>> {
        let mut sum = tally::histogram(3);
        for answer in self.ask(AT_ONCE, |_, _| Order::TakeReceiveLags)? {
            let Answer::Lags(lags) = answer else { return Err(nonsense()) };
            tally::add(&mut sum, &lags);
        }
        Ok(sum)
    }

    fn set_cohorts_active(&mut self, active: bool) -> io::Result<()> {
        self.ask(AT_ONCE, |_, _| Order::SetCohortsActive(active)).map(drop)
    }

    fn open_for_bursts(&self, count: u32) -> io::Result<Box<dyn Bursts>> {
        let order = |_, clock: &ClockMap| Order::OpenForBursts { count, server_clock: *clock };
        let mut bursts = RemoteBursts {
            hosts: self.hosts.clone(),
            clocks: self.clocks.clone(),
            connections: 0,
            why_no_more: None,
            states: Vec::new(),
            state: State::default(),
            until_ns: 0,
        };
        for answer in self.ask(RAMP + RAMP_EACH * count + SILENCE, order)? {
            let Answer::Opened { connections, why_no_more, state } = answer else { return Err(nonsense()) };
            bursts.connections += connections;
            bursts.why_no_more = bursts.why_no_more.or(why_no_more);
            bursts.states.push(state);
        }
        bursts.note();
        Ok(Box::new(bursts))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // A host that is lost was told of already.
        drop(self.ask(AT_ONCE, |_, _| Order::Disconnect));
    }
}

/// Connections for bursts on other hosts.
#[derive(Debug)]
struct RemoteBursts {
    hosts: Hosts,
    clocks: Vec<HostClock>,
    connections: u32,
    why_no_more: Option<String>,
    states: Vec<State>,
    state: State,
    /// Until when echoes are waited for.
    until_ns: u64,
}

impl RemoteBursts {
    fn ask(&self, patience: Duration, order: impl Fn(&ClockMap) -> Order) -> io::Result<Vec<Answer>> {
        let mut links = self.hosts.links();
        self.send_to(&mut links, order)?;
        links.answers(deadline_ns(patience))
    }

    fn send_to(&self, links: &mut Links, order: impl Fn(&ClockMap) -> Order) -> io::Result<()> {
        links.iter_mut().zip(&self.clocks).try_for_each(|(host, clock)| host.order(&order(&clock.map)))
    }

    fn note(&mut self) {
        let by_own = self.states.iter().zip(&self.clocks).map(|(state, clock)| state.clone().here(&clock.map));
        self.state = State::sum(&by_own.collect::<Vec<_>>());
    }

    /// The server's clock is this host's, so what a host takes until then it may take here as well.
    fn until(until_ns: u64) -> Duration {
        Duration::from_nanos(until_ns.saturating_sub(clock::now_ns())) + SILENCE
    }
}

impl Bursts for RemoteBursts {
    fn connections(&self) -> u32 {
        self.connections
    }

    fn why_no_more(&self) -> Option<&str> {
        self.why_no_more.as_deref()
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn receive_until(&mut self, until_ns: u64) -> io::Result<()> {
        let order = |clock: &ClockMap| Order::ReceiveUntil { until_ns: clock.there(until_ns) };
        self.ask(Self::until(until_ns), order).map(drop)
    }

    fn clock_error_ns(&self) -> u64 {
        self.clocks.iter().map(|clock| clock.error_ns).max().unwrap_or(0)
    }

    fn send(&mut self) -> io::Result<Sent> {
        // When the last echo comes is told by another clock than when the server goes on.
        self.clocks = self.hosts.links().iter_mut().map(|host| host.probe_clock()).collect::<io::Result<_>>()?;
        let mut sum = Sent { whole: true, arrived: true, answered: false };
        for (index, answer) in self.ask(AT_ONCE, |_| Order::SendBurst)?.into_iter().enumerate() {
            let Answer::BurstSent { sent, state } = answer else { return Err(nonsense()) };
            sum = Sent {
                whole: sum.whole && sent.whole,
                arrived: sum.arrived && sent.arrived,
                answered: sum.answered || sent.answered,
            };
            self.states[index] = state;
        }
        self.note();
        Ok(sum)
    }

    fn await_echoes(&mut self, until_ns: u64) -> io::Result<()> {
        let order = |clock: &ClockMap| Order::AwaitEchoes { until_ns: clock.there(until_ns) };
        self.until_ns = until_ns;
        self.send_to(&mut self.hosts.links(), order)?;
        std::thread::sleep(SPIN_UP);
        Ok(())
    }

    fn last_echo_ns(&mut self) -> io::Result<Option<u64>> {
        let answers: Vec<Answer> = self.hosts.links().answers(deadline_ns(Self::until(self.until_ns)))?;
        let mut last = Some(0);
        for (index, answer) in answers.into_iter().enumerate() {
            let Answer::Echoed { last_ns, state } = answer else { return Err(nonsense()) };
            let here = last_ns.map(|ns| self.clocks[index].map.here(ns));
            last = last.zip(here).map(|(last, here): (u64, u64)| last.max(here));
            self.states[index] = state;
        }
        self.note();
        Ok(last)
    }

    fn finish(self: Box<Self>) -> io::Result<(Vec<HostWindow>, u64)> {
        let mut windows = Vec::new();
        let mut begun = u64::MAX;
        for (answer, clock) in self.ask(DRAIN + SILENCE, |_| Order::EndBursts)?.into_iter().zip(&self.clocks) {
            let Answer::Bursts { window, begun_ns } = answer else { return Err(nonsense()) };
            begun = begun.min(clock.map.here(begun_ns));
            windows.push(window.here(&clock.map));
        }
        Ok((windows, begun))
    }
}
