//! One trial: a fresh server, its connections, and the windows idle, warm-up, load and peak, with snapshots in between.
//!
//! Each window has its own schedule, its own drain and its own tally; snapshots are taken outside of them.

mod measured;
mod surroundings;

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
pub(crate) use measured::{HostActivity, Idle, KernelMemory, Loaded, Trial};
use servers::clock;

use crate::{
    engine::{
        Engine, Options, ReceivedTick, Slot, Window, Workload,
        progress::{Phase, Progress},
    },
    error::Unreachable,
    measure::{
        engine_thread::{Watch, with_watched_engine},
        target::{Running, Stopped, Target},
    },
    observe::{self, Machine, Process, ThreadTimes, Usage},
    plan::{Load, Pacing, Plan},
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
    let measured =
        with_watched_engine(plan, &running, watch, |options| Measurement::begin(plan, &running, options)?.run());
    let log = running.log();
    let stopped = running.stop();
    let measured = measured.map_err(|error| if log.is_empty() { error } else { error.context(log) })?;
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
    peak: Option<Loaded>,
    kernel_memory: KernelMemory,
    server_threads_max: Option<u64>,
    problem: Option<String>,
    shortage: Option<String>,
    interrupted: bool,
}

impl Measured {
    /// Completes the trial with its beginning and with the server's counters and last line.
    fn into_trial(self, begun: Begun, stopped: Result<Stopped>) -> Trial {
        // A server that did not end well explains the problems of its connections, so its own takes precedence.
        let (stopped, problem) = match stopped {
            Ok(stopped) => (stopped, self.problem),
            Err(error) => (Stopped::default(), Some(format!("{error:#}"))),
        };
        Trial {
            started_at_unix_ms: begun.unix_ms,
            started_at_ns: begun.monotonic_ns,
            ramp: self.ramp,
            idle: self.idle,
            warmups: self.warmups,
            undisturbed: self.undisturbed,
            load: self.load,
            peak: self.peak,
            kernel_memory: self.kernel_memory,
            server_threads_max: self.server_threads_max,
            counters: stopped.counters,
            last_words: stopped.last_words,
            problem,
            shortage: self.shortage,
            interrupted: self.interrupted,
        }
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
    progress: Arc<Progress>,
}

impl<'a> Measurement<'a> {
    fn begin(plan: &'a Plan, running: &Running, options: &Options) -> Result<Self> {
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
        let peak = if windows.peak.is_zero() { None } else { self.loaded(Self::peak)? };
        Ok(Measured {
            ramp: self.ramp,
            idle,
            warmups: self.warmups,
            undisturbed,
            load,
            peak,
            kernel_memory,
            server_threads_max: self.threads_max,
            problem: self.engine.first_problem().map(str::to_owned),
            shortage: self.engine.first_shortage().map(str::to_owned),
            interrupted: self.engine.is_interrupted(),
        })
    }

    /// Warm-up and load; none after a signal.
    fn load(&mut self) -> Result<Option<Loaded>> {
        let windows = &self.plan.windows;
        if !windows.warmup.is_zero() {
            self.progress.enter(Phase::WarmUp);
            let slots = self.slots(windows.warmup, self.plan.seed ^ WARMUP_SEED);
            let warmup = self.send(&slots, windows.warmup)?;
            self.warmups.push(warmup);
        }
        let slots = self.slots(windows.load, self.plan.seed);
        self.progress.enter(Phase::Load);
        Ok(self.loaded(|measurement| measurement.send(&slots, windows.load))?)
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

    /// Starts half an interval after a tick and lasts whole intervals, so that it holds a known number of ticks.
    fn idle(&mut self) -> io::Result<Idle> {
        let (length, ticks) = self.plan.idle_ticks();
        let aligned = match self.plan.status_interval {
            // Without a connection no tick is seen, and none is sent.
            Some(interval) if !interval.is_zero() && self.plan.connections > 0 => self.align(interval)?,
            _ => true,
        };
        let (before, others) = (self.usage(), self.others());
        self.catch_up()?;
        let around = observe::machine();
        let window = self.engine.idle_until(clock::now_ns() + length.as_nanos() as u64)?;
        let server = self.usage().zip(before).map(|(after, before)| after.since(&before));
        Ok(Idle {
            window,
            ticks: ticks.filter(|_| aligned && self.plan.connections > 0 && !self.engine.is_interrupted()),
            surroundings: self.surroundings(&around, others.as_ref()),
            server,
            memory: self.process.as_ref().map(Process::memory),
        })
    }

    /// Sleeps until half an interval after a tick; false if no tick comes.
    fn align(&mut self, interval: Duration) -> io::Result<bool> {
        let interval_ns = interval.as_nanos() as u64;
        if self.engine.newest_tick().is_none() {
            self.engine.wait_for_tick(clock::now_ns() + 2 * interval_ns)?;
        }
        let Some(ReceivedTick { due_ns, .. }) = self.engine.newest_tick() else { return Ok(false) };
        let now_ns = clock::now_ns();
        let Some(middle_ns) = next_middle_ns(due_ns, interval_ns, now_ns) else { return Ok(false) };
        // Ticks that arrive until then belong to no window.
        drop(self.engine.idle_until(middle_ns)?);
        Ok(true)
    }

    /// The schedule of a window, drawn before it begins; a closed loop has none.
    fn slots(&self, length: Duration, seed: u64) -> Vec<Slot> {
        match &self.plan.load {
            Load::Open { rate, arrivals } => {
                let (payloads, connections) = (&self.plan.payloads, self.plan.connections);
                Workload { seed, rate, arrivals: *arrivals, payloads, connections }.slots(length)
            }
            Load::Closed { .. } => Vec::new(),
        }
    }

    /// One window of the plan's load.
    fn send(&mut self, slots: &[Slot], length: Duration) -> io::Result<Window> {
        match self.plan.load {
            Load::Open { .. } => self.engine.open_loop(slots, length),
            Load::Closed { depth } => self.engine.closed_loop(depth, length, self.plan.closed_pacing()),
        }
    }

    /// Throughput: blocking, since a spinning client would only compete with itself.
    fn peak(&mut self) -> io::Result<Window> {
        self.engine.closed_loop(1, self.plan.windows.peak, Pacing::Timer)
    }

    /// A window with the server's usage and the host's activity; none after a signal.
    fn loaded(&mut self, window: impl FnOnce(&mut Self) -> io::Result<Window>) -> io::Result<Option<Loaded>> {
        if self.engine.is_interrupted() {
            return Ok(None);
        }
        let (server_before, others) = (self.usage(), self.others());
        self.catch_up()?;
        let (around, start_ns) = (observe::machine(), clock::now_ns());
        let window = window(self)?;
        let span_ns = clock::now_ns() - start_ns;
        let server = self.usage().zip(server_before).map(|(after, before)| after.since(&before));
        Ok(Some(Loaded { window, span_ns, surroundings: self.surroundings(&around, others.as_ref()), server }))
    }

    /// The activity of the host since these readings.
    fn surroundings(&mut self, before: &Machine, others_before: Option<&ThreadTimes>) -> HostActivity {
        let (now, others) = (observe::machine(), self.others());
        surroundings::activity(self.plan, [before, &now], [others_before, others.as_ref()])
    }

    /// What others have used so far; `None` if the server's processes are not known.
    fn others(&mut self) -> Option<ThreadTimes> {
        self.others = surroundings::others(&self.pids, self.others.as_ref());
        self.others.clone()
    }

    /// Reads what arrived during a snapshot. It is late only because nothing was read, so it belongs to no window.
    fn catch_up(&mut self) -> io::Result<()> {
        if self.engine.newest_tick().is_none() {
            return Ok(());
        }
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

    /// A snapshot of the server; `None` if its process is not known or gone.
    fn usage(&mut self) -> Option<Usage> {
        let usage = self.process.as_ref()?.usage().ok()?;
        self.threads_max = self.threads_max.max(Some(usage.threads.len() as u64));
        Some(usage)
    }
}

/// The next time half-way between two ticks, one of which was due at `due_ns`; `None` if that due time, which the server
/// reports, lies later than the next tick can be.
fn next_middle_ns(due_ns: u64, interval_ns: u64, now_ns: u64) -> Option<u64> {
    let middle_ns = due_ns.checked_add(interval_ns / 2)?;
    let late_ns = now_ns.saturating_sub(middle_ns);
    let next_ns = middle_ns + late_ns.div_ceil(interval_ns) * interval_ns;
    (next_ns <= now_ns + 2 * interval_ns).then_some(next_ns)
}

/// Makes the warm-up's schedule differ from that of the load.
const WARMUP_SEED: u64 = 0x7761_726d_7570;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_says_absurd_times_is_not_waited_for() {
        assert_eq!(next_middle_ns(1_000, 100, 1_010), Some(1_050));
        assert_eq!(next_middle_ns(1_000, 100, 1_051), Some(1_150));
        assert_eq!(next_middle_ns(7, 100, 1_051), Some(1_057), "long ago");
        assert_eq!(next_middle_ns(2_000, 100, 1_051), None, "in the far future");
        assert_eq!(next_middle_ns(u64::MAX, 100, 1_051), None);
    }
}
