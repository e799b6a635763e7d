//! Linux: CPU clocks, /proc and affinity masks.

use std::{fs, io, path::Path};

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use procfs::{Current, CurrentSI, KernelStats, Meminfo, ProcResult};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};

use super::{Machine, Memory, ThreadUsage, Usage};

/// Another process.
#[derive(Debug)]
pub struct Process {
    cpu_clock: ClockId,
    proc: procfs::process::Process,
}

impl Process {
    /// # Errors
    /// If there is no such process.
    pub fn open(pid: i32) -> io::Result<Self> {
        let proc = procfs::process::Process::new(pid).map_err(io::Error::other)?;
        Ok(Self { cpu_clock: clock_getcpuclockid(Pid::from_raw(pid))?, proc })
    }

    /// What it has used so far.
    ///
    /// CPU time is read from the process's CPU clock (clock_getcpuclockid(3)): it has nanoseconds and includes threads
    /// that have exited. /proc/PID/schedstat covers the main thread only, and utime and stime are ticks of 10 ms.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn usage(&self) -> io::Result<Usage> {
        let mut usage = Usage { cpu_ns: nanoseconds(self.cpu_clock)?, ..Usage::default() };
        for task in self.proc.tasks().map_err(io::Error::other)? {
            // A thread may end while the list is read.
            let Ok(task) = task else { continue };
            usage.threads.insert(task.tid);
            let status = task.status().ok();
            add(&mut usage.voluntary_switches, status.as_ref().and_then(|status| status.voluntary_ctxt_switches));
            add(&mut usage.involuntary_switches, status.as_ref().and_then(|status| status.nonvoluntary_ctxt_switches));
            add(&mut usage.run_delay_ns, task.schedstat().ok().map(|schedstat| schedstat.run_delay));
        }
        Ok(usage)
    }

    /// Its CPU time so far, in nanoseconds: much cheaper than [`usage`](Self::usage).
    ///
    /// # Errors
    /// If the process is gone.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        nanoseconds(self.cpu_clock)
    }

    /// Its memory now (proc_pid_smaps(5)). The RSS of statm and status is only approximate.
    pub fn memory(&self) -> Memory {
        let rollup = self.proc.smaps_rollup().ok();
        let field = |name: &str| {
            let map = rollup.as_ref()?.memory_map_rollup.0.first()?;
            map.extension.map.get(name).copied()
        };
        Memory { rss_bytes: field("Rss"), pss_bytes: field("Pss") }
    }
}

/// What the calling thread has used so far.
pub fn thread_usage() -> ThreadUsage {
    let run_delay_ns = || -> ProcResult<u64> {
        let task =
            procfs::process::Process::myself()?.task_from_tid(rustix::thread::gettid().as_raw_nonzero().get())?;
        Ok(task.schedstat()?.run_delay)
    };
    ThreadUsage {
        cpu_ns: nanoseconds(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap_or(0),
        run_delay_ns: run_delay_ns().ok(),
    }
}

/// Counters of the whole machine.
pub fn machine() -> Machine {
    let (mut steal_ns, mut busy_ns) = (None, None);
    if let Ok(stats) = KernelStats::current() {
        let tick_ns = 1_000_000_000 / procfs::ticks_per_second();
        let total = stats.total;
        let interrupts = total.irq.unwrap_or(0) + total.softirq.unwrap_or(0);
        steal_ns = total.steal.map(|ticks| ticks * tick_ns);
        busy_ns = Some((total.user + total.nice + total.system + interrupts) * tick_ns);
    }
    let memory = Meminfo::current().ok();
    Machine {
        steal_ns,
        busy_ns,
        kernel_stack_bytes: memory.as_ref().and_then(|memory| memory.kernel_stack),
        slab_bytes: memory.as_ref().map(|memory| memory.slab),
    }
}

/// The CPUs that this process may use (sched_getaffinity(2)), in order.
pub fn available_cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Has the calling thread, and what it starts, run on these CPUs only.
///
/// # Errors
/// If none of them is available.
pub fn pin_thread(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Whether a cgroup limits the CPU time of this process (cgroup v2, or v1 where its usual mount is).
pub fn has_cpu_quota() -> bool {
    let Ok(groups) = fs::read_to_string("/proc/self/cgroup") else { return false };
    let v2 = groups.lines().filter_map(|line| line.strip_prefix("0::")).flat_map(|path| {
        Path::new(path)
            .ancestors()
            .map(|group| format!("/sys/fs/cgroup{}/cpu.max", group.display()))
            .collect::<Vec<_>>()
    });
    let limited_v2 = v2.filter_map(|file| fs::read_to_string(file).ok()).any(|max| !max.starts_with("max"));
    let v1 = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == "cpu").then(|| format!("/sys/fs/cgroup/cpu{path}/cpu.cfs_quota_us"))
    });
    let limited_v1 = v1.filter_map(|file| fs::read_to_string(file).ok()).any(|quota| !quota.starts_with("-1"));
    limited_v2 || limited_v1
}

/// What a record says about the host. Whatever cannot be read is null.
pub fn facts() -> Value {
    let uname = rustix::system::uname();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu_model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    json!({
        "host": uname.nodename().to_string_lossy(),
        "kernel": format!("{} {}", uname.release().to_string_lossy(), uname.version().to_string_lossy()),
        "kernel_cmdline": read("/proc/cmdline"),
        "architecture": uname.machine().to_string_lossy(),
        "cpu_model": cpu_model,
        "cpus_online": read("/sys/devices/system/cpu/online"),
        "cpus_available": available_cpus(),
        "smt": read("/sys/devices/system/cpu/smt/control"),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clocksource": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "mitigations": mitigations(),
        "transparent_hugepage": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "cpu_quota": has_cpu_quota(),
        "sysctl": sysctls(),
        "nofile_soft": rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        "memory_total_bytes": Meminfo::current().ok().map(|memory| memory.mem_total),
    })
}

fn mitigations() -> Value {
    let Ok(folder) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else { return Value::Null };
    let mut files: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().filter_map(|file| Some((file.file_name()?.to_str()?.to_owned(), read(file)))).collect()
}

fn sysctls() -> Value {
    [
        "net/core/somaxconn",
        "net/ipv4/ip_local_port_range",
        "net/ipv4/tcp_congestion_control",
        "net/ipv4/tcp_rmem",
        "net/ipv4/tcp_wmem",
        "net/ipv4/tcp_max_syn_backlog",
        "kernel/pid_max",
        "kernel/perf_event_paranoid",
        "kernel/randomize_va_space",
        "kernel/sched_schedstats",
        "vm/max_map_count",
    ]
    .iter()
    .map(|name| (name.replace('/', "."), read(format!("/proc/sys/{name}"))))
    .collect()
}

fn read(file: impl AsRef<Path>) -> Value {
    fs::read_to_string(file).map_or(Value::Null, |text| text.trim().into())
}

fn nanoseconds(clock: ClockId) -> io::Result<u64> {
    let time: TimeSpec = clock.now()?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

fn add(sum: &mut Option<u64>, value: Option<u64>) {
    if let Some(value) = value {
        *sum = Some(sum.unwrap_or(0) + value);
    }
}
