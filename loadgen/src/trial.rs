//! One trial: a fresh server, its connections, and the windows idle, warm-up, load and peak, with snapshots in between.
//!
//! Each window has its own schedule, its own drain and its own tally; snapshots are taken outside of them.

use std::{
    io, thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use protocol::Counters;
use servers::clock;

use crate::{
    engine::{Engine, Options, Pacing, SeenTick, Slot, Window, slots},
    observe::{self, Machine, Memory, Process, ThreadUsage, Usage},
    plan::{Load, PlacementKind, Plan},
    tally::Tally,
    target::{Running, Target, Unreachable},
};

/// Everything a trial measured; nothing is judged yet.
#[derive(Debug)]
pub struct Trial {
    /// When it began, in milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// The connection ramp.
    pub ramp: Window,
    /// The windows that were run.
    pub idle: Option<Idle>,
    /// The load window; `None` if a signal came before.
    pub load: Option<Loaded>,
    /// The closed loop for throughput.
    pub peak: Option<Loaded>,
    /// Kernel memory that the connections cost: now - before, in bytes.
    pub kernel_memory: KernelMemory,
    /// The most threads that any snapshot saw.
    pub server_threads_max: Option<u64>,
    /// What the server counted, if it was started for the trial and ended well.
    pub counters: Option<Counters>,
    /// What went wrong, on the server's side.
    pub problem: Option<String>,
    /// A signal cut it short.
    pub interrupted: bool,
}

/// The idle window.
#[derive(Debug)]
pub struct Idle {
    /// Its tally.
    pub window: Window,
    /// Ticks that it spans; `None` if the interval is not known or no tick came.
    pub ticks: Option<u64>,
    /// What the server used.
    pub server: Option<Usage>,
    /// The server's memory at its end.
    pub memory: Option<Memory>,
}

/// A window with load, its drain included.
#[derive(Debug)]
pub struct Loaded {
    /// Its tally.
    pub window: Window,
    /// From the first slot until the drain was over, in nanoseconds: what CPU times divide by.
    pub span_ns: u64,
    /// What the server used in that span.
    pub server: Option<Usage>,
    /// What the engine's thread used in that span.
    pub loadgen: ThreadUsage,
    /// Time stolen from all CPUs in that span, in nanoseconds.
    pub steal_ns: Option<u64>,
    /// Time that all CPUs were busy in that span, in nanoseconds.
    pub machine_busy_ns: Option<u64>,
}

/// Kernel memory that the connections cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelMemory {
    /// Kernel stacks in bytes.
    pub stacks_bytes: Option<i64>,
    /// Kernel objects in bytes, client's and server's side.
    pub slab_bytes: Option<i64>,
}

impl Trial {
    /// The tallies of all its windows.
    pub fn tallies(&self) -> impl Iterator<Item = &Tally> {
        let idle = self.idle.iter().map(|idle| &idle.window.tally);
        let loaded = self.load.iter().chain(&self.peak).map(|loaded| &loaded.window.tally);
        [&self.ramp.tally].into_iter().chain(idle).chain(loaded)
    }
}

/// Runs one trial. To be called from the main thread: the child's life is tied to the thread that spawns it.
///
/// # Errors
/// [`Unreachable`] if there is nothing to measure: the server does not start, refuses every connection or does not
/// echo. Whatever happens later is an outcome and stands in the trial.
pub fn run(plan: &Plan, target: &Target) -> Result<Trial> {
    let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let running = target.start()?;
    let measured = thread::scope(|scope| {
        let engine = thread::Builder::new().name("engine".to_owned());
        let engine = engine.spawn_scoped(scope, || Measurement::new(plan, &running).and_then(Measurement::run))?;
        engine.join().map_err(|_| anyhow!("the engine panicked"))?
    });
    let log = running.log();
    let stopped = running.stop();
    let mut trial = measured.map_err(|error| if log.is_empty() { error } else { error.context(log) })?;
    trial.started_at_unix_ms = started_at.as_millis() as u64;
    match stopped {
        Ok(counters) => trial.counters = counters,
        Err(error) => trial.problem = Some(format!("{error:#}")),
    }
    Ok(trial)
}

/// A trial under way, on the engine's thread.
struct Measurement<'a> {
    plan: &'a Plan,
    engine: Engine,
    ramp: Window,
    process: Option<Process>,
    before: Machine,
    threads_max: Option<u64>,
}

impl<'a> Measurement<'a> {
    fn new(plan: &'a Plan, running: &Running) -> Result<Self> {
        if plan.placement.kind == PlacementKind::Split {
            observe::pin_thread(&plan.placement.loadgen_cpus).context("cannot pin the generator")?;
        }
        let process = running.pid.map(|pid| {
            Process::open(pid).map_err(|error| Unreachable(format!("cannot observe process {pid}: {error}")))
        });
        let before = observe::machine();
        let (engine, ramp) = Engine::connect(&Options {
            addr: running.addr,
            connections: plan.connections,
            payload_bytes: plan.payload_bytes,
            nodelay: plan.nodelay,
            congestion: Some(plan.congestion.clone()),
            pacing: plan.pacing,
        })?;
        if engine.connected() == 0 && !ramp.interrupted {
            let problem = engine.first_problem().unwrap_or("no connection was established");
            return Err(Unreachable(format!("{}: {problem}", running.addr)).into());
        }
        Ok(Self { plan, engine, ramp, process: process.transpose()?, before, threads_max: None })
    }

    fn run(mut self) -> Result<Trial> {
        let windows = &self.plan.windows;
        let idle = if windows.idle.is_zero() { None } else { Some(self.idle()?) };
        let now = observe::machine();
        let difference = |now: Option<u64>, then: Option<u64>| Some(now?.cast_signed() - then?.cast_signed());
        let kernel_memory = KernelMemory {
            stacks_bytes: difference(now.kernel_stack_bytes, self.before.kernel_stack_bytes),
            slab_bytes: difference(now.slab_bytes, self.before.slab_bytes),
        };
        if !windows.warmup.is_zero() {
            let slots = self.slots(windows.warmup, self.plan.seed ^ WARMUP_SEED);
            self.send(slots, windows.warmup)?;
        }
        let slots = self.slots(windows.load, self.plan.seed);
        let load = self.loaded(|measurement| measurement.send(slots, windows.load))?;
        let peak = if windows.peak.is_zero() { None } else { Some(self.loaded(Self::peak)?) };
        let interrupted = [Some(&load), peak.as_ref()].into_iter().flatten().any(|loaded| loaded.window.interrupted);
        Ok(Trial {
            started_at_unix_ms: 0,
            ramp: self.ramp,
            idle,
            load: Some(load),
            peak,
            kernel_memory,
            server_threads_max: self.threads_max,
            counters: None,
            problem: self.engine.first_problem().map(str::to_owned),
            interrupted,
        })
    }

    /// Starts half an interval after a tick and lasts whole intervals, so that it holds a known number of ticks.
    fn idle(&mut self) -> io::Result<Idle> {
        let (length, ticks) = self.plan.idle_ticks();
        let aligned = match self.plan.status_interval {
            Some(interval) if !interval.is_zero() => self.align(interval)?,
            _ => true,
        };
        let before = self.usage();
        self.catch_up()?;
        let start_ns = clock::now_ns();
        let window = self.engine.idle_until(start_ns + length.as_nanos() as u64)?;
        let after = self.usage();
        Ok(Idle {
            window,
            ticks: ticks.filter(|_| aligned),
            server: after.zip(before).map(|(after, before)| after.since(&before)),
            memory: self.process.as_ref().map(Process::memory),
        })
    }

    /// Sleeps until half an interval after a tick; false if no tick comes.
    fn align(&mut self, interval: Duration) -> io::Result<bool> {
        let interval_ns = interval.as_nanos() as u64;
        if self.engine.newest_tick().is_none() {
            self.engine.wait_for_tick(clock::now_ns() + 2 * interval_ns)?;
        }
        let Some(SeenTick { due_ns, .. }) = self.engine.newest_tick() else { return Ok(false) };
        let middle_ns = due_ns + interval_ns / 2;
        let late_ns = clock::now_ns().saturating_sub(middle_ns);
        // What arrives until then belongs to no window.
        drop(self.engine.idle_until(middle_ns + late_ns.div_ceil(interval_ns) * interval_ns)?);
        Ok(true)
    }

    /// The schedule of a window, made before it begins; a closed loop has none.
    fn slots(&self, length: Duration, seed: u64) -> Vec<Slot> {
        match self.plan.load {
            Load::Open { rate_per_sec, arrivals } => slots(seed, arrivals, rate_per_sec, length, self.plan.connections),
            Load::Closed { .. } => Vec::new(),
        }
    }

    /// One window of the plan's load.
    fn send(&mut self, slots: Vec<Slot>, length: Duration) -> io::Result<Window> {
        match self.plan.load {
            Load::Open { .. } => self.engine.open_loop(slots, length),
            Load::Closed { depth } => self.engine.closed_loop(depth, length, self.plan.closed_pacing()),
        }
    }

    /// Throughput: blocking, since a spinning client would only compete with itself.
    fn peak(&mut self) -> io::Result<Window> {
        self.engine.closed_loop(1, self.plan.windows.peak, Pacing::Timer)
    }

    fn loaded(&mut self, window: impl FnOnce(&mut Self) -> io::Result<Window>) -> io::Result<Loaded> {
        let (server_before, machine_before) = (self.usage(), observe::machine());
        self.catch_up()?;
        let (loadgen_before, start_ns) = (observe::thread_usage(), clock::now_ns());
        let window = window(self)?;
        let (end_ns, loadgen) = (clock::now_ns(), observe::thread_usage());
        let (server, machine) = (self.usage(), observe::machine());
        let difference = |now: Option<u64>, then: Option<u64>| now?.checked_sub(then?);
        Ok(Loaded {
            window,
            span_ns: end_ns - start_ns,
            server: server.zip(server_before).map(|(after, before)| after.since(&before)),
            loadgen: loadgen.since(&loadgen_before),
            steal_ns: difference(machine.steal_ns, machine_before.steal_ns),
            machine_busy_ns: difference(machine.busy_ns, machine_before.busy_ns),
        })
    }

    /// Takes what arrived during a snapshot. It is late only because nobody looked, so it belongs to no window.
    fn catch_up(&mut self) -> io::Result<()> {
        const LOOK_NS: u64 = 2_000_000;
        /// With ticks every 10 ms there may always be something.
        const LOOKS: usize = 50;
        for _ in 0..LOOKS {
            let seen = self.engine.idle_until(clock::now_ns() + LOOK_NS)?;
            if seen.tally.counts.statuses == 0 {
                break;
            }
        }
        Ok(())
    }

    /// A snapshot of the server; `None` if there is no process to look at, or it is gone.
    fn usage(&mut self) -> Option<Usage> {
        let usage = self.process.as_ref()?.usage().ok()?;
        self.threads_max = self.threads_max.max(Some(usage.threads.len() as u64));
        Some(usage)
    }
}

/// Makes the warm-up's schedule another one than that of the load.
const WARMUP_SEED: u64 = 0x7761_726d_7570;
