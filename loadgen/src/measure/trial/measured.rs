//! The measurements of a trial. Nothing is assessed here.

use protocol::Counters;

use crate::{
    engine::{Window, tally::Tally},
    observe::{Memory, Usage},
};

/// All measurements of a trial, not yet assessed.
#[derive(Debug)]
pub(crate) struct Trial {
    /// Beginning, in milliseconds since 1970.
    pub(crate) started_at_unix_ms: u64,
    /// Beginning in nanoseconds of CLOCK_MONOTONIC, which is never set.
    pub(crate) started_at_ns: u64,
    /// The connection ramp.
    pub(crate) ramp: Window,
    pub(crate) idle: Option<Idle>,
    /// Load that is not counted, except for its failures.
    pub(crate) warmups: Vec<Window>,
    /// The load without the misbehaving clients, if there are any.
    pub(crate) undisturbed: Option<Loaded>,
    /// The load window; `None` if the plan has none.
    pub(crate) load: Option<Loaded>,
    /// The closed loop that measures throughput.
    pub(crate) peak: Option<Loaded>,
    pub(crate) kernel_memory: KernelMemory,
    /// The most threads that any snapshot saw.
    pub(crate) server_threads_max: Option<u64>,
    /// The server's own counters, if it was started for the trial and ended well.
    pub(crate) counters: Option<Counters>,
    /// The last line that the server wrote to stderr.
    pub(crate) last_words: String,
    /// The first failure on the server's side.
    pub(crate) problem: Option<String>,
    /// The resource that this host lacked for a measured connection, the first time.
    pub(crate) shortage: Option<String>,
    /// A signal cut the trial short.
    pub(crate) interrupted: bool,
}

#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) window: Window,
    /// Ticks that the window spans; `None` if the interval is not known or no tick came.
    pub(crate) ticks: Option<u64>,
    pub(crate) server: Option<Usage>,
    pub(crate) surroundings: HostActivity,
    /// The server's memory at the end of the window.
    pub(crate) memory: Option<Memory>,
}

/// A window with load, its drain included.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) window: Window,
    /// From the first slot until the drain was over, in nanoseconds: what CPU times divide by.
    pub(crate) span_ns: u64,
    /// The server's usage in that span.
    pub(crate) server: Option<Usage>,
    /// The host's activity in that span.
    pub(crate) surroundings: HostActivity,
}

/// Activity of the host in a span. The counters of CPUs have a resolution of 10 ms per CPU.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostActivity {
    /// Time stolen from the CPUs in use, in nanoseconds.
    pub(crate) steal_ns: Option<u64>,
    /// Time that all CPUs were busy, in nanoseconds.
    pub(crate) machine_busy_ns: Option<u64>,
    /// Time that the server's CPUs were busy, in nanoseconds.
    pub(crate) server_cpus_busy_ns: Option<u64>,
    /// CPU time of all threads but the server's and the generator's on the CPUs in use, in nanoseconds; unknown if the
    /// server's process is not known.
    pub(crate) foreign_cpu_ns: Option<u64>,
    /// The same on all other CPUs.
    pub(crate) foreign_cpu_ns_elsewhere: Option<u64>,
}

/// Kernel memory that the connections cost: after less before, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KernelMemory {
    pub(crate) stacks_bytes: Option<i64>,
    /// Kernel objects of client and server.
    pub(crate) slab_bytes: Option<i64>,
    pub(crate) page_tables_bytes: Option<i64>,
}

impl Trial {
    /// All windows with their names, in the order in which they were run, except that warm-ups stand before all loads.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (&'static str, &Window)> {
        let idle = self.idle.iter().map(|idle| ("idle", &idle.window));
        let warmups = self.warmups.iter().map(|window| ("warm-up", window));
        let undisturbed = self.undisturbed.iter().map(|loaded| ("undisturbed", &loaded.window));
        let load = self.load.iter().map(|loaded| ("load", &loaded.window));
        let peak = self.peak.iter().map(|loaded| ("peak", &loaded.window));
        [("ramp", &self.ramp)].into_iter().chain(idle).chain(warmups).chain(undisturbed).chain(load).chain(peak)
    }

    pub(crate) fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.windows().map(|(_, window)| &window.tally)
    }

    /// Connections of every kind that this host could not carry.
    pub(crate) fn short_count(&self) -> u64 {
        let beside = |window: &Window| window.cohorts.iter().map(|cohort| cohort.short).sum::<u64>();
        self.windows().map(|(_, window)| window.tally.counts.short + beside(window)).sum()
    }

    /// The resource that this host lacked for any connection, the first time.
    pub(crate) fn shortage(&self) -> Option<&str> {
        let mut beside = self.windows().flat_map(|(_, window)| &window.cohorts);
        self.shortage.as_deref().or_else(|| beside.find_map(|cohort| cohort.shortage.as_deref()))
    }
}
