//! The measurements of a trial. Nothing is assessed here.

use protocol::Counters;

use crate::{
    engine::{Window, tally::Tally},
    observe::{Memory, Usage},
    stats,
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
    pub(crate) peak: Option<Peak>,
    /// The bursts for which the server stood still.
    pub(crate) drain: Option<Drained>,
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
    /// The server's times are by a clock that is not known here: no delivery of a status is.
    pub(crate) has_foreign_clock: bool,
    /// How much too late the order of a window was on another host, in nanoseconds, if one was.
    pub(crate) late_start_ns: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) window: Window,
    /// Ticks that the window spans; `None` if the interval is not known or no tick came.
    pub(crate) ticks: Option<u64>,
    pub(crate) server: Option<Usage>,
    /// The reading half-way between two ticks of the window.
    pub(crate) part: Option<IdlePart>,
    pub(crate) surroundings: HostActivity,
    /// The server's memory at the end of the window.
    pub(crate) memory: Option<Memory>,
}

/// The first part of an idle window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdlePart {
    /// Ticks that it spans.
    pub(crate) ticks: u64,
    /// Wake-ups of the server in it.
    pub(crate) wakeups: u64,
}

/// The drain window.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    /// `None` if no connection was tried.
    pub(crate) window: Option<Window>,
    /// Connections, on each of which a burst sends one message.
    pub(crate) connections: u32,
    /// Bursts that the plan asks for.
    pub(crate) bursts_wanted: u32,
    /// Messages per second of every burst that counts.
    pub(crate) rates_per_sec: Vec<f64>,
    /// Why there are no more of them.
    pub(crate) reason: Option<String>,
    /// The first failure of a connection.
    pub(crate) problem: Option<String>,
    /// A signal came.
    pub(crate) interrupted: bool,
}

impl Drained {
    /// The median of the bursts in messages per second, if at least half of them count.
    pub(crate) fn rate_per_sec(&self) -> Option<f64> {
        let suffices = self.rates_per_sec.len() * 2 >= self.bursts_wanted as usize;
        stats::quantile(&self.rates_per_sec, 0.5).filter(|_| suffices)
    }
}

/// A window with load, its drain included.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) window: Window,
    /// The server's usage in that span.
    pub(crate) server: Option<Usage>,
    /// The host's activity in that span.
    pub(crate) surroundings: HostActivity,
}

/// The closed loop that measures throughput. Its windows without and with a delay in the generator took turns; each kind
/// is added up.
#[derive(Debug)]
pub(crate) struct Peak {
    /// Without a delay but that of the plan.
    pub(crate) plain: Window,
    /// With the delay of the plan's peak window as well; `None` after a signal.
    pub(crate) delayed: Option<Window>,
    /// Messages per second of every window without a delay, and of every one with it.
    pub(crate) rates_per_sec: [Vec<f64>; 2],
    /// The server's usage over all of them.
    pub(crate) server: Option<Usage>,
}

/// Activity of the host in a span. The counters of CPUs have a resolution of 10 ms per CPU.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostActivity {
    /// Between the two readings, in nanoseconds.
    pub(crate) span_ns: Option<u64>,
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
        let halves = self.peak.iter().flat_map(|peak| [Some(&peak.plain), peak.delayed.as_ref()]);
        let peak = halves.flatten().map(|window| ("peak", window));
        let drain = self.drain.iter().filter_map(|drain| Some(("drain", drain.window.as_ref()?)));
        let begin = [("ramp", &self.ramp)].into_iter().chain(idle).chain(warmups);
        begin.chain(undisturbed).chain(load).chain(peak).chain(drain)
    }

    /// All windows.
    pub(super) fn windows_mut(&mut self) -> impl Iterator<Item = &mut Window> {
        let loads = self.undisturbed.iter_mut().chain(&mut self.load).map(|loaded| &mut loaded.window);
        let peak = self.peak.iter_mut().flat_map(|peak| [Some(&mut peak.plain), peak.delayed.as_mut()]).flatten();
        let drain = self.drain.iter_mut().filter_map(|drain| drain.window.as_mut());
        let idle = self.idle.iter_mut().map(|idle| &mut idle.window);
        [&mut self.ramp].into_iter().chain(idle).chain(&mut self.warmups).chain(loads).chain(peak).chain(drain)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drain_rate_is_the_median_of_at_least_half_of_the_bursts() {
        let rate = |rates: &[f64], bursts_wanted| {
            Drained { rates_per_sec: rates.to_vec(), bursts_wanted, ..Drained::default() }.rate_per_sec()
        };
        assert_eq!(rate(&[30.0, 10.0, 20.0], 3), Some(20.0));
        assert_eq!(rate(&[30.0, 10.0], 4), Some(20.0));
        assert_eq!(rate(&[30.0, 10.0], 5), None);
        assert_eq!(rate(&[], 0), None);
    }
}
