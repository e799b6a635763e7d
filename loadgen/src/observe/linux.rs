//! Linux: CPU clocks, /proc and affinity masks.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use perf_event::{Builder, Counter, events::Tracepoint};
use procfs::{Current, CurrentSI, FromRead, KernelStats, Meminfo, ProcResult};
use rustix::{
    process::setpriority_process,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use super::{Facts, Machine, Memory, ThreadUsage, Usage, cgroup, cmdline, topology::read_root};

/// Another process, or several processes that form one server.
#[derive(Debug)]
pub struct Process(Vec<One>);

#[derive(Debug)]
struct One {
    cpu_clock: ClockId,
    proc: procfs::process::Process,
}

impl Process {
    /// # Errors
    /// If one of them does not exist.
    pub fn open(pids: &[i32]) -> io::Result<Self> {
        let open = |pid: &i32| -> io::Result<One> {
            let proc = procfs::process::Process::new(*pid).map_err(io::Error::other)?;
            Ok(One { cpu_clock: clock_getcpuclockid(Pid::from_raw(*pid))?, proc })
        };
        pids.iter().map(open).collect::<io::Result<_>>().map(Self)
    }

    /// Its resource usage so far.
    ///
    /// CPU time is read from the process's CPU clock (clock_getcpuclockid(3)): it has nanoseconds and includes threads
    /// that have exited. /proc/PID/schedstat covers the main thread only, and utime and stime are ticks of 10 ms.
    ///
    /// # Errors
    /// If the process, or one of them, is gone.
    pub fn usage(&self) -> io::Result<Usage> {
        let (at_ns, cpu_ns) = (servers::clock::now_ns(), self.cpu_ns()?);
        let mut usage = Usage { at_ns, cpu_ns, ..Usage::default() };
        for one in &self.0 {
            one.add_threads(&mut usage)?;
        }
        Ok(usage)
    }

    /// Its CPU time so far, in nanoseconds: much cheaper than [`usage`](Self::usage).
    ///
    /// # Errors
    /// If the process, or one of them, is gone.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        self.0.iter().map(|one| nanoseconds(one.cpu_clock)).sum()
    }

    /// Its memory now (proc_pid_smaps(5)). The RSS of statm and status is only approximate.
    pub fn memory(&self) -> Memory {
        let rollups: Option<Vec<_>> = self.0.iter().map(|one| one.proc.smaps_rollup().ok()).collect();
        let field = |name: &str| {
            let maps = rollups.as_ref()?.iter().map(|rollup| rollup.memory_map_rollup.0.first());
            maps.map(|map| map?.extension.map.get(name).copied()).sum()
        };
        Memory { rss_bytes: field("Rss"), pss_bytes: field("Pss") }
    }
}

impl One {
    fn add_threads(&self, usage: &mut Usage) -> io::Result<()> {
        for task in self.proc.tasks().map_err(io::Error::other)? {
            // A thread may end while the list is read.
            let Ok(task) = task else { continue };
            usage.threads.insert(task.tid);
            let status = status(task.pid, task.tid);
            add(&mut usage.voluntary_switches, status.as_ref().and_then(|status| status.voluntary_ctxt_switches));
            add(&mut usage.involuntary_switches, status.as_ref().and_then(|status| status.nonvoluntary_ctxt_switches));
            add(&mut usage.run_delay_ns, task.schedstat().ok().map(|schedstat| schedstat.run_delay));
        }
        Ok(())
    }
}

/// The status of a thread. Its name may not be UTF-8, for example if the kernel has truncated it within a character.
fn status(pid: i32, tid: i32) -> Option<procfs::process::Status> {
    let bytes = fs::read(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    procfs::process::Status::from_read(String::from_utf8_lossy(&bytes).as_bytes()).ok()
}

/// Resource usage of the calling thread so far.
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

/// CPU time of this process so far, in nanoseconds.
pub fn own_cpu_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap_or(0)
}

/// Counters of the whole machine.
pub fn machine() -> Machine {
    let (mut steal_ns, mut idle_ns) = (Vec::new(), Vec::new());
    if let Ok(stats) = KernelStats::current() {
        let tick_ns = 1_000_000_000 / procfs::ticks_per_second();
        steal_ns = stats.cpu_time.iter().filter_map(|cpu| Some(cpu.steal? * tick_ns)).collect();
        idle_ns = stats.cpu_time.iter().map(|cpu| (cpu.idle + cpu.iowait.unwrap_or(0)) * tick_ns).collect();
    }
    let memory = Meminfo::current().ok();
    Machine {
        at_ns: servers::clock::now_ns(),
        steal_ns,
        idle_ns,
        kernel_stack_bytes: memory.as_ref().and_then(|memory| memory.kernel_stack),
        slab_bytes: memory.as_ref().map(|memory| memory.slab),
        page_tables_bytes: memory.as_ref().and_then(|memory| memory.page_tables),
    }
}

/// Counts the system calls of another process (perf_event_open(2), the tracepoint raw_syscalls:sys_enter).
#[derive(Debug)]
pub struct Syscalls(Vec<Counter>);

impl Syscalls {
    /// Counts the system calls of all threads of these processes, including threads started later. Counting slows the
    /// processes down, so nothing else should be measured meanwhile.
    ///
    /// # Errors
    /// If counting is not allowed (it needs root or CAP_PERFMON, and a readable tracefs) or a process is gone.
    pub fn count(pids: &[i32]) -> io::Result<Self> {
        let id = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
            .iter()
            .find_map(|root| fs::read_to_string(format!("{root}/events/raw_syscalls/sys_enter/id")).ok())
            .ok_or_else(|| io::Error::other("tracefs is not mounted or not readable"))?;
        let event = Tracepoint::with_id(id.trim().parse().map_err(io::Error::other)?);
        let mut tids = Vec::new();
        for pid in pids {
            let tasks = procfs::process::Process::new(*pid).and_then(|it| it.tasks()).map_err(io::Error::other)?;
            tids.extend(tasks.flatten().map(|task| task.tid));
        }
        let counter = |tid| {
            // By default the kernel is excluded, and a tracepoint in the kernel then silently counts 0.
            let mut counter = Builder::new(event)
                .observe_pid(tid)
                .any_cpu()
                .inherit(true)
                .exclude_kernel(false)
                .exclude_hv(false)
                .build()?;
            counter.enable()?;
            Ok(counter)
        };
        tids.into_iter().map(counter).collect::<io::Result<_>>().map(Self)
    }

    /// Number of system calls so far.
    ///
    /// # Errors
    /// If a counter cannot be read.
    pub fn so_far(&mut self) -> io::Result<u64> {
        self.0.iter_mut().map(Counter::read).sum()
    }
}

/// The CPUs that this process may use (sched_getaffinity(2)), in order.
pub fn available_cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Memory in bytes that this process may still allocate: the kernel's estimate of available memory, or less if the
/// address space is limited (ulimit -v).
pub fn available_memory() -> Option<u64> {
    let available = Meminfo::current().ok().and_then(|memory| memory.mem_available);
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current;
    let taken = procfs::process::Process::myself().and_then(|process| process.statm());
    let taken = taken.map_or(0, |pages| pages.size * procfs::page_size());
    let left = limit.map(|limit| limit.saturating_sub(taken));
    available.into_iter().chain(left).min()
}

/// Number of descriptors that this process may open (RLIMIT_NOFILE, the soft limit); `None` without a limit.
pub fn descriptor_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Number of ephemeral ports (ip(7)).
pub fn ephemeral_ports() -> Option<u64> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = range.split_whitespace().map_while(|bound| bound.parse::<u64>().ok());
    let (first, last) = (bounds.next()?, bounds.next()?);
    Some(last.saturating_sub(first) + 1)
}

/// How long a port is kept in TIME_WAIT before connect(2) may use it again over loopback: a second or two if the kernel
/// reuses such ports (tcp_tw_reuse in ip-sysctl.rst; 2, its default, is over loopback), else a minute.
pub fn time_wait() -> Duration {
    let is_on = |name: &str| {
        let value = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
        matches!(value.trim(), "1" | "2")
    };
    // Kernels before 6.14 count whole seconds.
    let reused = is_on("tcp_tw_reuse") && is_on("tcp_timestamps");
    if reused { Duration::from_secs(2) } else { Duration::from_secs(60) }
}

/// Pins the calling thread, and threads and processes that it starts, to these CPUs; does nothing if `cpus` is empty.
///
/// # Errors
/// If none of them is available.
pub fn pin_thread(cpus: &[usize]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Gives the calling thread the lowest priority, so that it hardly runs while another thread wants its CPU.
///
/// # Errors
/// If the kernel refuses that.
pub fn yield_to_others() -> io::Result<()> {
    const LEAST: i32 = 19;
    // On Linux the priority belongs to the thread, not to its process (setpriority(2)).
    Ok(setpriority_process(Some(rustix::thread::gettid()), LEAST)?)
}

/// How many CPUs' time a cgroup allows this process (cgroup v2, or v1 at its usual mount point); `None` without a quota.
pub fn cpu_quota() -> Option<f64> {
    cgroup::cpu_quota(&read_root)
}

/// The system's host name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether an address belongs to this host, or rather to this network namespace: nothing else can be bound here.
pub fn is_own_address(addr: IpAddr) -> bool {
    addr.is_unspecified() || UdpSocket::bind((addr, 0)).is_ok()
}

/// The kernel's random boot ID.
pub fn boot_id() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// The host's properties for a record; `None` where they cannot be read.
pub fn facts() -> Facts {
    let uname = rustix::system::uname();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu_model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    Facts {
        host: host(),
        kernel: format!("{} {}", uname.release().to_string_lossy(), uname.version().to_string_lossy()),
        kernel_cmdline: fs::read_to_string("/proc/cmdline").ok().map(|line| cmdline::relevant(&line)),
        architecture: uname.machine().to_string_lossy().into_owned(),
        cpu_model: cpu_model.map(str::to_owned),
        cpus_online: read("/sys/devices/system/cpu/online"),
        cpus_available: available_cpus(),
        smt: read("/sys/devices/system/cpu/smt/control"),
        hypervisor: cpuinfo.lines().find(|line| line.starts_with("flags")).map(|line| line.contains(" hypervisor")),
        governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        clocksource: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        mitigations: mitigations(),
        transparent_hugepage: read("/sys/kernel/mm/transparent_hugepage/enabled"),
        cpu_quota: cpu_quota().is_some(),
        sysctl: sysctls(),
        nofile_soft: descriptor_limit(),
        memory_total_bytes: Meminfo::current().ok().map(|memory| memory.mem_total),
    }
}

fn mitigations() -> BTreeMap<String, Option<String>> {
    let folder = fs::read_dir("/sys/devices/system/cpu/vulnerabilities");
    let files = folder.into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter_map(|file| Some((file.file_name()?.to_str()?.to_owned(), read(&file)))).collect()
}

fn sysctls() -> BTreeMap<String, Option<String>> {
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

fn read(file: impl AsRef<Path>) -> Option<String> {
    // The content is set by the kernel or an administrator and may not be UTF-8.
    fs::read(file).ok().map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
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
