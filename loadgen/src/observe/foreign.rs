//! Linux: what others do on some CPUs, in nanoseconds: the CPU time of every thread before and after a window.

use std::{collections::BTreeMap, fs, path::Path};

use nix::{time::clock_getcpuclockid, unistd::Pid};
use procfs::{
    FromRead,
    process::{Schedstat, Stat, StatFlags},
};

/// The CPU times so far of the threads of all visible processes but some, the kernel's own threads included.
#[derive(Clone, Debug, Default)]
pub struct ThreadTimes(BTreeMap<i32, ProcessTimes>);

/// The CPU times of one process.
#[derive(Clone, Debug, Default, PartialEq)]
struct ProcessTimes {
    /// Start in ticks since boot: another process may have had the same number.
    started_ticks: u64,
    /// CPU time of all its threads, ended ones included, in nanoseconds.
    total_ns: u64,
    /// CPU time of the children that it has waited for, in ticks of [`procfs::ticks_per_second`].
    children_ticks: u64,
    /// Such a thread ends without being waited for.
    is_of_kernel: bool,
    threads: BTreeMap<i32, ThreadTime>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct ThreadTime {
    /// CPU time in nanoseconds (the first number of schedstat).
    ran_ns: u64,
    /// The CPU that it is on or was on last (field 39 of stat).
    cpu: usize,
}

/// CPU time of others in a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForeignTime {
    /// On the CPUs in question, in nanoseconds.
    pub there_ns: u64,
    /// On all other CPUs, in nanoseconds.
    pub elsewhere_ns: u64,
}

impl ForeignTime {
    fn add(&mut self, is_there: bool, ns: u64) {
        *(if is_there { &mut self.there_ns } else { &mut self.elsewhere_ns }) += ns;
    }
}

impl ThreadTimes {
    /// Reads the times of all threads but those of the processes `except`. Of a process that has not run since `earlier`
    /// no file is read again.
    pub fn read(except: &[i32], earlier: Option<&Self>) -> Self {
        Self::read_in(Path::new("/proc"), except, earlier, cpu_clock_ns)
    }

    fn read_in(root: &Path, except: &[i32], earlier: Option<&Self>, cpu_clock_ns: impl Fn(i32) -> Option<u64>) -> Self {
        let process = |pid: i32| {
            let total_ns = cpu_clock_ns(pid);
            let known = earlier.and_then(|earlier| earlier.0.get(&pid));
            match known.filter(|known| total_ns == Some(known.total_ns)) {
                Some(known) => Some((pid, known.clone())),
                None => Some((pid, ProcessTimes::read(&root.join(pid.to_string()), pid, total_ns)?)),
            }
        };
        Self(numbers(root).filter(|pid| !except.contains(pid)).filter_map(process).collect())
    }

    /// The times since `earlier`, on these CPUs and elsewhere.
    ///
    /// A thread was on these CPUs if it was there at either reading. What ended threads used is known for their process;
    /// what ended processes used, as far as someone has waited for them: it is a lower bound.
    pub fn since(&self, earlier: &Self, cpus: &[usize]) -> ForeignTime {
        let mut time = ForeignTime::default();
        let mut reapers = Vec::new();
        for (pid, now) in &self.0 {
            let then = earlier.0.get(pid).filter(|then| then.started_ticks == now.started_ticks);
            let then = then.cloned().unwrap_or_default();
            now.add_since(&then, cpus, &mut time);
            let children_ticks = now.children_ticks.saturating_sub(then.children_ticks);
            if children_ticks > 0 {
                // A tick may have been nearly complete before.
                reapers.push((now.is_on(cpus), (children_ticks - 1) * tick_ns()));
            }
        }
        let reaped_ns: u64 = reapers.iter().map(|(_, ns)| ns).sum();
        // Where they ran is not known: like those that waited for them.
        time.add(reapers.iter().any(|(there, _)| *there), reaped_ns.saturating_sub(self.used_by_ended(earlier)));
        time
    }

    /// CPU time that processes which have ended since `earlier` had used by then.
    fn used_by_ended(&self, earlier: &Self) -> u64 {
        let lives = |pid, then: &ProcessTimes| {
            self.0.get(pid).is_some_and(|now: &ProcessTimes| now.started_ticks == then.started_ticks)
        };
        let ended = earlier.0.iter().filter(|(pid, then)| !then.is_of_kernel && !lives(*pid, then));
        ended.map(|(_, then)| then.total_ns + then.children_ticks * tick_ns()).sum()
    }
}

impl ProcessTimes {
    /// `None` if it is gone, or if it is a softirq thread of the kernel, which works for the load.
    fn read(folder: &Path, pid: i32, total_ns: Option<u64>) -> Option<Self> {
        let tasks = folder.join("task");
        let tids: Vec<i32> = numbers(&tasks).collect();
        // What the only thread has used, the clock has told.
        let told_ns = total_ns.filter(|_| tids.len() == 1);
        let mut times = Self::default();
        for tid in tids {
            // A thread may end while the list is read.
            let Some((stat, ran_ns)) = thread(&tasks.join(tid.to_string()), told_ns) else { continue };
            if tid == pid {
                if stat.comm.starts_with("ksoftirqd") {
                    return None;
                }
                times.started_ticks = stat.starttime;
                times.children_ticks = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
                times.is_of_kernel = stat.flags().is_ok_and(|flags| flags.contains(StatFlags::PF_KTHREAD));
            }
            let cpu = stat.processor.and_then(|cpu| usize::try_from(cpu).ok())?;
            times.threads.insert(tid, ThreadTime { ran_ns, cpu });
        }
        let sum_ns = || times.threads.values().map(|thread| thread.ran_ns).sum();
        times.total_ns = total_ns.unwrap_or_else(sum_ns);
        (!times.threads.is_empty()).then_some(times)
    }

    /// Adds what it has used since `then`: by thread while it lasts, the total being exact. schedstat may lack a tick of
    /// a thread that is running, and lacks threads that have ended.
    fn add_since(&self, then: &Self, cpus: &[usize], time: &mut ForeignTime) {
        let mut left_ns = self.total_ns.saturating_sub(then.total_ns);
        if left_ns == 0 {
            return;
        }
        for (tid, thread) in &self.threads {
            let before = then.threads.get(tid);
            let used_ns = thread.ran_ns.saturating_sub(before.map_or(0, |before| before.ran_ns)).min(left_ns);
            left_ns -= used_ns;
            let was_there = before.is_some_and(|before| cpus.contains(&before.cpu));
            time.add(was_there || cpus.contains(&thread.cpu), used_ns);
        }
        time.add(self.is_on(cpus) || then.is_on(cpus), left_ns);
    }

    fn is_on(&self, cpus: &[usize]) -> bool {
        self.threads.values().any(|thread| cpus.contains(&thread.cpu))
    }
}

fn tick_ns() -> u64 {
    1_000_000_000 / procfs::ticks_per_second()
}

/// A thread's stat, and its CPU time in nanoseconds unless it was told already; `None` if it is gone.
fn thread(folder: &Path, told_ns: Option<u64>) -> Option<(Stat, u64)> {
    let read = |name: &str| fs::read(folder.join(name)).ok();
    let stat = Stat::from_read(&read("stat")?[..]).ok()?;
    let ran_ns = || Some(Schedstat::from_read(&read("schedstat")?[..]).ok()?.sum_exec_runtime);
    Some((stat, told_ns.or_else(ran_ns)?))
}

/// The entries of a folder that are numbers.
fn numbers(folder: &Path) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// CPU time of a process by its clock (clock_getcpuclockid(3)), which covers threads that have ended.
fn cpu_clock_ns(pid: i32) -> Option<u64> {
    let time = clock_getcpuclockid(Pid::from_raw(pid)).and_then(|clock| clock.now()).ok()?;
    Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

#[cfg(test)]
mod tests;
