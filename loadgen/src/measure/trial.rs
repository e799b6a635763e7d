//! One trial: a fresh server, its connections, and the windows idle, warm-up, load, peak and drain, with snapshots in
//! between.
//!
//! Each window has its own schedule, its own drain and its own tally; snapshots are taken outside of them.

mod drain;
mod idle;
mod measured;
mod peak;
mod readings;
mod surroundings;

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
pub(crate) use measured::{Drained, HostActivity, Idle, IdlePart, KernelMemory, Loaded, Peak, Trial};
pub(crate) use peak::length as peak_length;
use protocol::work::Work;
use readings::Readings;
use servers::clock;

use crate::{
    engine::{
        Engine, Moment, Options, Schedule, Window,
        progress::{Phase, Progress},
    },
    error::{GeneratorLost, Unreachable},
    measure::{
        engine_thread::{Watch, with_watched_engine},
        target::{Running, Stopped, Target},
    },
    observe::{self, Machine, Process, ThreadTimes, Usage},
    plan::{Load, Plan},
};

/// Runs one trial. To be called from the main thread: the child's life is tied to the thread that spawns it.
///
/// # Errors
/// [`CannotStart`](crate::error::CannotStart) or [`Unreachable`] if there is nothing to measure: the server does not
/// start, refuses every connection or does not echo. Later failures are outcomes and recorded in the trial.
pub(crate) fn run(plan: &Plan, target: &Target) -> Result<Trial> {
    run_watched(plan, target, None)
}

/// [`run`], while the calling thread looks at the progress five times per second.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_watched(plan: &Plan, target: &Target, watch: Option<Watch<'_>>) -> Result<Trial> {
    let begun = Begun::now();
    let running = target.start()?;
    let measured = with_watched_engine(plan, &running, watch, |options| {
        Measurement::begin(plan, target, &running, options)?.run()
    });
    let log = running.log();
    let stopped = running.stop();
    // What the server wrote explains nothing of a generator that was lost.
    let is_told = |error: &anyhow::Error| !log.is_empty() && !GeneratorLost::is_cause_of(error);
    let measured = measured.map_err(|error| if is_told(&error) { error.context(log.clone()) } else { error })?;
    Ok(measured.into_trial(begun, stopped))
}

/// When a trial began.
struct Begun {
    unix_ms: u64,
    monotonic_ns: u64,
}

impl Begun {
    fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix_ms: unix.as_millis() as u64, monotonic_ns: clock::now_ns() }
    }
}

/// The measurements of the engine's thread: a trial before the server was stopped.
struct Measured {
    ramp: Window,
    idle: Option<Idle>,
    warmups: Vec<Window>,
    undisturbed: Option<Loaded>,
    load: Option<Loaded>,
    peak: Option<Peak>,
    drain: Option<Drained>,
    kernel_memory: KernelMemory,
    server_threads_max: Option<u64>,
    problem: Option<String>,
    shortage: Option<String>,
    interrupted: bool,
    has_foreign_clock: bool,
    late_start_ns: Option<u64>,
}

impl Measured {
    /// Completes the trial with its beginning and with the server's counters and last line.
    fn into_trial(self, begun: Begun, stopped: Result<Stopped>) -> Trial {
        // A server that did not end well explains the problems of its connections, so its own takes precedence.
        let (stopped, problem) = match stopped {
            Ok(stopped) => (stopped, self.problem),
            Err(error) => (Stopped::default(), Some(format!("{error:#}"))),
        };
        let mut trial = Trial {
            started_at_unix_ms: begun.unix_ms,
            started_at_ns: begun.monotonic_ns,
            ramp: self.ramp,
            idle: self.idle,
            warmups: self.warmups,
            undisturbed: self.undisturbed,
            load: self.load,
            peak: self.peak,
            drain: self.drain,
            kernel_memory: self.kernel_memory,
            server_threads_max: self.server_threads_max,
            counters: stopped.counters,
            last_words: stopped.last_words,
            problem,
            shortage: self.shortage,
            interrupted: self.interrupted,
            has_foreign_clock: self.has_foreign_clock,
            late_start_ns: self.late_start_ns,
        };
        if trial.has_foreign_clock {
            trial.windows_mut().for_each(|window| window.tally.forget_server_clock());
        }
        trial
    }
}

/// A trial in progress, on the engine's thread.
struct Measurement<'a> {
    plan: &'a Plan,
    engine: Engine,
    ramp: Window,
    process: Option<Process>,
    pids: Vec<i32>,
    before: Machine,
    /// The latest reading of what others use, which makes the next one quick.
    others: Option<ThreadTimes>,
    threads_max: Option<u64>,
    warmups: Vec<Window>,
    /// Connections beside the measured ones in the drain window.
    drain_connections: u32,
    /// The server runs on another host, by a clock that is not known here.
    has_foreign_clock: bool,
    progress: Arc<Progress>,
}

impl<'a> Measurement<'a> {
    fn begin(plan: &'a Plan, target: &Target, running: &Running, options: &Options) -> Result<Self> {
        let process = running.pid().map(|pid| {
            Process::open(&running.pids).map_err(|error| Unreachable(format!("cannot observe process {pid}: {error}")))
        });
        let before = observe::machine();
        let (engine, ramp) = Engine::connect(options)?;
        // If only this host was short of something, the trial says nothing about the server and is invalid.
        let hindered = engine.first_problem().is_none() && engine.first_shortage().is_some();
        if engine.connected() == 0 && plan.connections > 0 && !engine.is_interrupted() && !hindered {
            let problem = engine.first_problem().unwrap_or("no connection was established");
            return Err(Unreachable(format!("{}: {problem}", running.addr)).into());
        }
        Ok(Self {
            plan,
            engine,
            ramp,
            process: process.transpose()?,
            pids: running.pids.clone(),
            before,
            others: None,
            threads_max: None,
            warmups: Vec::new(),
            drain_connections: target.room_beside(plan.connections, plan.drain_connections()),
            has_foreign_clock: !observe::is_own_address(running.addr.ip()),
            progress: Arc::clone(&options.progress),
        })
    }

    fn run(mut self) -> Result<Measured> {
        let windows = &self.plan.windows;
        self.progress.enter(Phase::Idle);
        let idle = if windows.idle.is_zero() { None } else { Some(self.idle()?) };
        let kernel_memory = self.kernel_memory();
        let undisturbed = if self.plan.cohorts.is_empty() { None } else { self.load()? };
        self.engine.set_cohorts_active(true)?;
        let load = if windows.load.is_zero() { None } else { self.load()? };
        self.engine.set_cohorts_active(false)?;
        self.progress.enter(Phase::Peak);
        let peak = if self.has_peak(load.as_ref()) { self.peak()? } else { None };
        let drain = self.drain()?;
        let drain_problem = drain.as_ref().and_then(|drain| drain.problem.clone());
        let interrupted = self.engine.is_interrupted() || drain.as_ref().is_some_and(|drain| drain.interrupted);
        Ok(Measured {
            ramp: self.ramp,
            idle,
            warmups: self.warmups,
            undisturbed,
            load,
            peak,
            drain,
            kernel_memory,
            server_threads_max: self.threads_max,
            problem: self.engine.first_problem().map(str::to_owned).or(drain_problem),
            shortage: self.engine.first_shortage().map(str::to_owned),
            interrupted,
            has_foreign_clock: self.has_foreign_clock,
            late_start_ns: self.engine.late_start_ns(),
        })
    }

    /// Warm-up and load; none after a signal.
    fn load(&mut self) -> Result<Option<Loaded>> {
        let windows = &self.plan.windows;
        if !windows.warmup.is_zero() {
            self.progress.enter(Phase::WarmUp);
            self.prepare(windows.warmup, self.plan.seed ^ WARMUP_SEED, None)?;
            let warmup = send(&mut self.engine, self.plan, windows.warmup, |_| {})?;
            self.warmups.push(warmup);
        }
        let work = self.plan.service.work;
        self.prepare(windows.load, self.plan.seed, work.has_shares().then_some(work))?;
        self.progress.enter(Phase::Load);
        Ok(self.loaded(windows.load)?)
    }

    /// Kernel memory now, less that before the connections.
    fn kernel_memory(&self) -> KernelMemory {
        let now = observe::machine();
        let difference = |now: Option<u64>, then: Option<u64>| Some(now?.cast_signed() - then?.cast_signed());
        KernelMemory {
            stacks_bytes: difference(now.kernel_stack_bytes, self.before.kernel_stack_bytes),
            slab_bytes: difference(now.slab_bytes, self.before.slab_bytes),
            page_tables_bytes: difference(now.page_tables_bytes, self.before.page_tables_bytes),
        }
    }

    /// Has the schedule of a window drawn before it begins; a closed loop has none.
    fn prepare(&mut self, length: Duration, seed: u64, marks_light: Option<Work>) -> io::Result<()> {
        let Load::Open { rate, arrivals } = &self.plan.load else { return Ok(()) };
        let (payloads, connections) = (self.plan.payloads.clone(), self.plan.connections);
        let rate = rate.clone();
        self.engine.prepare(&Schedule { seed, rate, arrivals: *arrivals, payloads, connections, length, marks_light })
    }

    /// Whether throughput is measured after the load. A closed loop that has failed, or that the server has left
    /// unanswered, has no rate to perturb.
    fn has_peak(&self, load: Option<&Loaded>) -> bool {
        let answered = || load.is_some_and(|load| load.window.tally.counts.unanswered == 0);
        let is_asked_for = !self.plan.windows.peak.is_zero();
        !peak_length(self.plan).is_zero() && (is_asked_for || (answered() && self.engine.first_problem().is_none()))
    }

    /// A window of the plan's load with the server's usage and the host's activity; none after a signal.
    fn loaded(&mut self, length: Duration) -> io::Result<Option<Loaded>> {
        if self.engine.is_interrupted() {
            return Ok(None);
        }
        let read_ns = clock::now_ns();
        let (before, others) = (self.usage(), self.others());
        self.catch_up(clock::now_ns() - read_ns)?;
        let (around, around_ns) = (observe::machine(), clock::now_ns());
        let mut readings = Readings::new(self.process.as_ref());
        let window = send(&mut self.engine, self.plan, length, |moment| readings.take(moment))?;
        let Readings { start, end, .. } = readings;
        let server = end.or_else(|| self.usage()).zip(start.or(before)).map(|(after, before)| after.since(&before));
        let surroundings = self.surroundings(&around, around_ns, others.as_ref());
        Ok(Some(Loaded { window, surroundings, server }))
    }

    /// The activity of the host since these readings.
    fn surroundings(&mut self, before: &Machine, before_ns: u64, others_before: Option<&ThreadTimes>) -> HostActivity {
        let (now, others) = (observe::machine(), self.others());
        let activity = surroundings::activity(self.plan, [before, &now], [others_before, others.as_ref()]);
        HostActivity { span_ns: Some(clock::now_ns().saturating_sub(before_ns)), ..activity }
    }

    /// What others have used so far; `None` if the server's processes are not known.
    fn others(&mut self) -> Option<ThreadTimes> {
        self.others = surroundings::others(&self.pids, self.others.as_ref());
        self.others.clone()
    }

    /// Reads what arrived during a snapshot that took so long. It is late only because nothing was read, so it belongs to no
    /// window.
    fn catch_up(&mut self, snapshot_ns: u64) -> io::Result<()> {
        if self.engine.newest_tick().is_none() {
            return Ok(());
        }
        const LOOK_NS: u64 = 2_000_000;
        // Where ticks overlap there is always something, and the server's usage counts from the snapshot on: to read what
        // came meanwhile does not take longer than it took to come.
        let enough_ns = clock::now_ns() + 2 * snapshot_ns;
        loop {
            let seen = self.engine.idle_until(clock::now_ns() + LOOK_NS)?;
            if seen.tally.counts.statuses == 0 || clock::now_ns() >= enough_ns {
                return Ok(());
            }
        }
    }

    /// A snapshot of the server; `None` if its process is not known or gone.
    fn usage(&mut self) -> Option<Usage> {
        let usage = self.process.as_ref()?.usage().ok()?;
        self.threads_max = self.threads_max.max(Some(usage.threads.len() as u64));
        Some(usage)
    }
}

/// Makes the warm-up's schedule differ from that of the load.
const WARMUP_SEED: u64 = 0x7761_726d_7570;

/// One window of the plan's load.
fn send(engine: &mut Engine, plan: &Plan, length: Duration, at: impl FnMut(Moment)) -> io::Result<Window> {
    match plan.load {
        Load::Open { .. } => engine.open_loop(length, at),
        Load::Closed { depth } => engine.closed_loop(depth, length, plan.closed_pacing(), at),
    }
}
