//! Observes processes and the machine from outside, without root.
//!
//! Each platform has a file with the same items, imported as `imp`:
//!
//! * `Process::open(pids)`, `usage()`, `memory()`: CPU time, switches, run delay, threads and memory of other processes;
//! * `Syscalls::count(pids)`, `so_far()`: system calls of other processes;
//! * `thread_usage()`, `own_cpu_ns()`: usage of the calling thread and of this process;
//! * `machine()`: counters of the whole host; `ThreadTimes` (in `foreign`): CPU time of everything else, thread by thread;
//! * `available_cpus()`, `pin_thread(cpus)`, `yield_to_others()`, `cpu_quota()`: where and when threads may run;
//! * `available_memory()`: how much this process may still allocate;
//! * `descriptor_limit()`: the number of descriptors that this process may open;
//! * `ephemeral_ports()`, `time_wait()`: the number of connections from one address to one server, and how soon one that
//!   was closed makes room for another;
//! * `motion(pid)`, `leader_motion(pid)`: whether a process runs, stands still or has ended;
//! * `facts()`, `host()`, `boot_id()`: properties and identity of the host, for a record.
//!
//! A value that the platform does not provide is `None`, never 0. Snapshots are taken outside the measured windows: with
//! ten thousand threads, a snapshot takes up to 100 ms.

pub(crate) mod bystanders;
mod cgroup;
mod cmdline;
mod facts;
pub mod fitness;
mod foreign;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod imp;

mod motion;
mod relatives;
pub(crate) mod topology;

#[cfg(not(target_os = "linux"))]
compile_error!("loadgen paces with timerfd and reads /proc: it measures on Linux only");

use std::collections::BTreeSet;

pub use facts::Facts;
pub use foreign::{ForeignTime, ThreadTimes};
pub use imp::{
    Process, Syscalls, available_cpus, available_memory, boot_id, cpu_quota, descriptor_limit, ephemeral_ports, facts,
    host, is_own_address, machine, own_cpu_ns, pin_thread, thread_usage, time_wait, yield_to_others,
};
pub use motion::{Motion, leader_motion, motion};
pub use relatives::{group, listening};

/// Resource usage of a process so far.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Time of the reading, in nanoseconds of CLOCK_MONOTONIC; of a difference, the elapsed time.
    pub at_ns: u64,
    /// CPU time of all threads, including exited ones, in nanoseconds.
    pub cpu_ns: u64,
    /// Voluntary context switches of the living threads: each is followed by a wake-up.
    pub voluntary_switches: Option<u64>,
    /// Involuntary context switches of the living threads.
    pub involuntary_switches: Option<u64>,
    /// Time that living threads were runnable but not running, in nanoseconds.
    pub run_delay_ns: Option<u64>,
    /// Number of living threads.
    pub threads: BTreeSet<i32>,
}

impl Usage {
    /// Usage since `earlier`. Counts are unknown if a thread has exited in between, since its own are gone.
    pub fn since(&self, earlier: &Self) -> Self {
        let complete = earlier.threads.is_subset(&self.threads);
        let difference = |now: Option<u64>, then: Option<u64>| if complete { now?.checked_sub(then?) } else { None };
        Self {
            at_ns: self.at_ns.saturating_sub(earlier.at_ns),
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            voluntary_switches: difference(self.voluntary_switches, earlier.voluntary_switches),
            involuntary_switches: difference(self.involuntary_switches, earlier.involuntary_switches),
            run_delay_ns: difference(self.run_delay_ns, earlier.run_delay_ns),
            threads: self.threads.union(&earlier.threads).copied().collect(),
        }
    }
}

/// Memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident set size in bytes.
    pub rss_bytes: Option<u64>,
    /// Proportional set size in bytes: shared pages divided by their users.
    pub pss_bytes: Option<u64>,
}

/// Resource usage of the calling thread so far.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct ThreadUsage {
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Time runnable but not running, in nanoseconds.
    pub run_delay_ns: Option<u64>,
}

impl ThreadUsage {
    /// Usage since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let run_delay_ns = self.run_delay_ns.zip(earlier.run_delay_ns).and_then(|(now, then)| now.checked_sub(then));
        Self { cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns), run_delay_ns }
    }

    /// The sum of two threads' CPU times, with the longer of their run delays.
    pub fn plus(&self, other: &Self) -> Self {
        Self { cpu_ns: self.cpu_ns + other.cpu_ns, run_delay_ns: self.run_delay_ns.max(other.run_delay_ns) }
    }
}

/// Counters of the whole machine, since it started.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Time of the reading, in nanoseconds of CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// Steal: time that the hypervisor ran others while a CPU was runnable, in nanoseconds, by CPU number. Empty if it is
    /// not known.
    pub steal_ns: Vec<u64>,
    /// Time that each CPU was idle or waiting for a device, in nanoseconds, by CPU number.
    pub idle_ns: Vec<u64>,
    /// Kernel stacks in bytes.
    pub kernel_stack_bytes: Option<u64>,
    /// Kernel objects (sockets, descriptors, tasks) in bytes.
    pub slab_bytes: Option<u64>,
    /// Page tables in bytes.
    pub page_tables_bytes: Option<u64>,
}

impl Machine {
    /// Time since `earlier` that these CPUs, or all CPUs, were neither idle nor stolen, in nanoseconds.
    ///
    /// It is computed as the rest of the elapsed time, because idle time is exact where the kernel stops its tick, while
    /// the components of busy time are only sampled. The resolution is 10 ms per CPU.
    pub fn busy_since(&self, earlier: &Self, cpus: Option<&[usize]>) -> Option<u64> {
        let span_ns = self.at_ns.checked_sub(earlier.at_ns)?;
        let all: Vec<usize> = (0..self.idle_ns.len()).collect();
        let busy = |cpu: &usize| {
            let idle_ns = self.idle_ns.get(*cpu)?.checked_sub(*earlier.idle_ns.get(*cpu)?)?;
            Some(span_ns.saturating_sub(idle_ns))
        };
        let busy: Option<u64> = cpus.unwrap_or(&all).iter().map(busy).sum();
        let stolen_ns = match cpus {
            None => self.stolen_since(earlier, &all).unwrap_or(0),
            Some(_) => 0,
        };
        busy.filter(|_| !all.is_empty()).map(|busy| busy.saturating_sub(stolen_ns))
    }

    /// Time since `earlier` that the hypervisor took from these CPUs, in nanoseconds. The resolution is 10 ms per CPU.
    pub fn stolen_since(&self, earlier: &Self, cpus: &[usize]) -> Option<u64> {
        let stolen = |cpu: &usize| self.steal_ns.get(*cpu)?.checked_sub(*earlier.steal_ns.get(*cpu)?);
        cpus.iter().map(stolen).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_told_of_the_cpus_that_are_asked_for() {
        let machine = |steal_ns: &[u64]| Machine { steal_ns: steal_ns.to_vec(), ..Machine::default() };
        let (before, now) = (machine(&[10, 20, 30]), machine(&[11, 22, 33]));
        assert_eq!(now.stolen_since(&before, &[0, 2]), Some(4));
        assert_eq!(now.stolen_since(&before, &[3]), None, "no such CPU");
        assert_eq!(machine(&[]).stolen_since(&machine(&[]), &[0]), None, "nothing is known");
    }

    #[test]
    fn what_was_stolen_was_not_busy() {
        let machine = |at_ns, idle_ns: u64, steal_ns: u64| Machine {
            at_ns,
            idle_ns: vec![idle_ns; 2],
            steal_ns: vec![steal_ns; 2],
            ..Machine::default()
        };
        let (before, now) = (machine(1_000, 500, 100), machine(2_000, 900, 150));
        assert_eq!(now.busy_since(&before, None), Some(2 * 600 - 2 * 50));
        assert_eq!(now.busy_since(&before, Some(&[1])), Some(600));
    }
}
