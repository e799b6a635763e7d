//! What a trial leaves. Nothing is judged here.

use protocol::Counters;

use crate::{
    engine::{Window, tally::Tally},
    observe::{Memory, Usage},
};

/// Everything a trial measured; nothing is judged yet.
#[derive(Debug)]
pub(crate) struct Trial {
    /// When it began, in milliseconds since 1970.
    pub(crate) started_at_unix_ms: u64,
    /// The same in nanoseconds of CLOCK_MONOTONIC, which is never set.
    pub(crate) started_at_ns: u64,
    /// The connection ramp.
    pub(crate) ramp: Window,
    /// The windows that were run.
    pub(crate) idle: Option<Idle>,
    /// Load that is not counted, but for what went wrong in it.
    pub(crate) warmups: Vec<Window>,
    /// The same load before the bad clients came, if there are any.
    pub(crate) undisturbed: Option<Loaded>,
    /// The load window; `None` if the plan has none.
    pub(crate) load: Option<Loaded>,
    /// The closed loop for throughput.
    pub(crate) peak: Option<Loaded>,
    /// Kernel memory that the connections cost: now - before, in bytes.
    pub(crate) kernel_memory: KernelMemory,
    /// The most threads that any snapshot saw.
    pub(crate) server_threads_max: Option<u64>,
    /// What the server counted, if it was started for the trial and ended well.
    pub(crate) counters: Option<Counters>,
    /// The last line that it wrote to stderr.
    pub(crate) last_words: String,
    /// What went wrong, on the server's side.
    pub(crate) problem: Option<String>,
    /// What this host lacked when it first could not carry a measured connection.
    pub(crate) shortage: Option<String>,
    /// A signal cut it short.
    pub(crate) interrupted: bool,
}

/// The idle window.
#[derive(Debug)]
pub(crate) struct Idle {
    /// Its tally.
    pub(crate) window: Window,
    /// Ticks that it spans; `None` if the interval is not known or no tick came.
    pub(crate) ticks: Option<u64>,
    /// What the server used.
    pub(crate) server: Option<Usage>,
    /// What was going on around it.
    pub(crate) surroundings: HostActivity,
    /// The server's memory at its end.
    pub(crate) memory: Option<Memory>,
}

/// A window with load, its drain included.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Its tally.
    pub(crate) window: Window,
    /// From the first slot until the drain was over, in nanoseconds: what CPU times divide by.
    pub(crate) span_ns: u64,
    /// What the server used in that span.
    pub(crate) server: Option<Usage>,
    /// What was going on around it in that span.
    pub(crate) surroundings: HostActivity,
}

/// What the rest of the machine did in a span. Read in ticks of 10 ms a CPU or process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostActivity {
    /// Time stolen from all CPUs, in nanoseconds.
    pub(crate) steal_ns: Option<u64>,
    /// Time that all CPUs were busy, in nanoseconds.
    pub(crate) machine_busy_ns: Option<u64>,
    /// Time that the server's CPUs were busy, in nanoseconds.
    pub(crate) server_cpus_busy_ns: Option<u64>,
    /// CPU time of all processes but the server and the generator; unknown if the server's process is.
    pub(crate) foreign_cpu_ns: Option<u64>,
}

/// Kernel memory that the connections cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KernelMemory {
    /// Kernel stacks in bytes.
    pub(crate) stacks_bytes: Option<i64>,
    /// Kernel objects in bytes, client's and server's side.
    pub(crate) slab_bytes: Option<i64>,
    /// Page tables in bytes.
    pub(crate) page_tables_bytes: Option<i64>,
}

impl Trial {
    /// All its windows with their names, in the order in which they were run; a warm-up stands before all loads.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (&'static str, &Window)> {
        let idle = self.idle.iter().map(|idle| ("idle", &idle.window));
        let warmups = self.warmups.iter().map(|window| ("warm-up", window));
        let undisturbed = self.undisturbed.iter().map(|loaded| ("undisturbed", &loaded.window));
        let load = self.load.iter().map(|loaded| ("load", &loaded.window));
        let peak = self.peak.iter().map(|loaded| ("peak", &loaded.window));
        [("ramp", &self.ramp)].into_iter().chain(idle).chain(warmups).chain(undisturbed).chain(load).chain(peak)
    }

    /// The tallies of all its windows.
    pub(crate) fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.windows().map(|(_, window)| &window.tally)
    }

    /// Connections of every kind that this host could not carry.
    pub(crate) fn short_count(&self) -> u64 {
        let beside = |window: &Window| window.cohorts.iter().map(|cohort| cohort.short).sum::<u64>();
        self.windows().map(|(_, window)| window.tally.counts.short + beside(window)).sum()
    }

    /// What this host lacked when it first could not carry one of them.
    pub(crate) fn shortage(&self) -> Option<&str> {
        let mut beside = self.windows().flat_map(|(_, window)| &window.cohorts);
        self.shortage.as_deref().or_else(|| beside.find_map(|cohort| cohort.shortage.as_deref()))
    }
}
