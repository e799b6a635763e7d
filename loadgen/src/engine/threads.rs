//! The threads of an engine on this host: each has its connections, its poll and its histograms, and shares nothing during
//! a window.

use std::{io, panic, thread, time::Duration};

use hdrhistogram::Histogram;
use servers::clock;

use super::{
    Carried, Generators, Moment, Options, Schedule, Slot, State,
    background::Flood,
    drain::{BurstClients, Bursts},
    shard::Shard,
    step::Step,
    tally,
    window::{HostWindow, ShardWindow},
};
use crate::{hosts::ClockMap, observe, plan::CohortKind};

/// How much later than now an open loop begins, so that every thread is ready.
const LEAD: Duration = Duration::from_millis(2);

/// Threads on this host, and which of all threads they are.
#[derive(Debug)]
pub(super) struct Threads {
    shards: Vec<Shard>,
    options: Options,
    /// Index of the first among the threads of all hosts.
    first: u32,
    flood: Option<Flood>,
    state: State,
}

impl Threads {
    /// `own` of the threads in `options`, from the one at index `first` on.
    ///
    /// # Errors
    /// If the kernel refuses a poll or a timer.
    pub(super) fn new(options: &Options, first: u32, own: u32) -> io::Result<Self> {
        let shards = (first..first + own).map(|index| Shard::new(options, index, options.threads));
        let shards = shards.collect::<io::Result<Vec<_>>>()?;
        let state = State::of(&shards);
        Ok(Self { shards, options: options.clone(), first, flood: None, state })
    }

    /// The server's times are by the other clock from now on.
    pub(super) fn set_server_clock(&mut self, clock: ClockMap) {
        self.shards.iter_mut().for_each(|shard| shard.set_server_clock(clock));
    }

    /// Carries out a step; returns what all threads measured.
    ///
    /// # Errors
    /// If polling fails.
    pub(super) fn step(&mut self, step: Step) -> io::Result<HostWindow> {
        let shards = self.on_each(|shard| shard.carry_out(step))?;
        Ok(self.window(shards.into_iter().flatten().collect()))
    }

    /// Opens its share of the connections for bursts.
    ///
    /// # Errors
    /// If the kernel refuses a poll or a timer.
    pub(super) fn burst_clients(&self, count: u32, host: [u32; 2], server_clock: ClockMap) -> io::Result<BurstClients> {
        BurstClients::connect(&self.options, count, host, server_clock)
    }

    /// The sum of what the threads measured, and of what the flooders did meanwhile.
    fn window(&mut self, shards: Vec<ShardWindow>) -> HostWindow {
        self.state = State::of(&self.shards);
        let mut window = HostWindow::of(shards, self.options.fan_out_span_ns, clock::now_ns());
        if let Some(flooded) = self.flood.as_ref().and_then(Flood::take_tally) {
            window.cohorts[CohortKind::Flooder as usize].add(&flooded);
        }
        window
    }

    /// The slots of a schedule that belong to a thread.
    fn own<'a>(&self, slots: &'a mut [Slot], index: usize) -> impl Iterator<Item = &'a mut Slot> + use<'a> {
        let (threads, index) = (self.options.threads as usize, self.first as usize + index);
        slots.iter_mut().filter(move |slot| slot.connection as usize % threads == index)
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

impl Generators for Threads {
    fn state(&self) -> State {
        self.state.clone()
    }

    fn carry_out(&mut self, step: Step) -> io::Result<Carried> {
        let start_ns = clock::now_ns();
        Ok(Carried { start_ns, windows: vec![self.step(step)?], parts: Vec::new() })
    }

    fn load(&mut self, make: &dyn Fn(u64) -> Step, _at: &mut dyn FnMut(Moment)) -> io::Result<Carried> {
        let start_ns = clock::now_ns() + LEAD.as_nanos() as u64;
        Ok(Carried { start_ns, windows: vec![self.step(make(start_ns))?], parts: Vec::new() })
    }

    fn idle(&mut self, middle_ns: Option<u64>, until_ns: u64, at: &mut dyn FnMut(Moment)) -> io::Result<Carried> {
        let Some(middle_ns) = middle_ns else { return self.carry_out(Step::Idle { until_ns }) };
        let start_ns = clock::now_ns();
        self.on_each(|shard| {
            shard.begin_idle(until_ns);
            shard.receive_until(middle_ns)
        })?;
        at(Moment::Middle);
        let shards = self.on_each(|shard| shard.end_idle(until_ns))?;
        Ok(Carried { start_ns, windows: vec![self.window(shards)], parts: Vec::new() })
    }

    fn prepare(&mut self, schedule: &Schedule) -> io::Result<()> {
        let mut slots = schedule.slots();
        for index in 0..self.shards.len() {
            if let Some(work) = &schedule.marks_light {
                let own = self.own(&mut slots, index);
                self.shards[index].mark_light(own, work);
            }
            let own = self.own(&mut slots, index).map(|slot| *slot).collect();
            self.shards[index].prepare(own);
        }
        Ok(())
    }

    fn set_delay(&mut self, per_message: Duration) -> io::Result<()> {
        self.shards.iter_mut().for_each(|shard| shard.set_delay(per_message));
        Ok(())
    }

    fn take_receive_lags(&mut self) -> io::Result<Histogram<u64>> {
        let mut sum = tally::histogram(3);
        for lags in self.shards.iter_mut().filter_map(Shard::take_receive_lags) {
            tally::add(&mut sum, &lags);
        }
        Ok(sum)
    }

    fn set_cohorts_active(&mut self, active: bool) -> io::Result<()> {
        self.shards.iter_mut().for_each(|shard| shard.set_background_active(active));
        let flooding = active && self.options.cohorts.flooders > 0;
        self.flood = if flooding { Some(Flood::start(&self.options)?) } else { None };
        Ok(())
    }

    fn open_for_bursts(&self, count: u32) -> io::Result<Box<dyn Bursts>> {
        Ok(Box::new(self.burst_clients(count, [0, 1], ClockMap::default())?))
    }
}
