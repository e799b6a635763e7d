//! Who else runs where a measurement is to run: tasks and interrupts, by what /proc says of an interval.

use std::{collections::BTreeMap, fs};

use procfs::{
    FromRead,
    process::{Stat, StatFlags, Status},
};

use super::topology::{CpuSet, ReadFile, cpu_list, read_root};

/// What tasks and interrupts had used at some time.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    /// CPU time in nanoseconds by process and thread (the first number of schedstat).
    tasks: BTreeMap<(i32, i32), u64>,
    interrupts: Vec<InterruptCount>,
}

/// What tasks and interrupts did on some CPUs in an interval, the most first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bystanders {
    /// Processes that used CPU time and may use these CPUs, but for this one.
    pub(crate) tasks: Vec<Task>,
    /// Interrupts of devices that these CPUs handled.
    pub(crate) interrupts: Vec<Interrupt>,
    /// Other interrupts that they handled: timers, and calls between CPUs.
    pub(crate) own_interrupts: u64,
    /// Whether threads of the kernel are seen: in a container only its own processes are.
    pub(crate) sees_kernel: bool,
}

/// A process, or a thread of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) pid: i32,
    pub(crate) name: String,
    /// CPU time of all its threads that may use the CPUs, on any of those it may use, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// CPUs that its busiest thread may use.
    pub(crate) allowed: Vec<usize>,
    /// The CPU that this thread last ran on.
    pub(crate) last_cpu: Option<usize>,
    pub(crate) kind: TaskKind,
}

/// Whether and how a task can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskKind {
    /// A program: sched_setaffinity(2) moves it.
    Program,
    /// A thread of the kernel: so as well.
    Kernel,
    /// A worker of the kernel's unbound work queues: their mask moves it.
    UnboundWorker,
    /// A thread of the kernel that belongs to its CPU (PF_NO_SETAFFINITY).
    Bound,
}

/// An interrupt of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interrupt {
    pub(crate) number: u32,
    /// Name of its handler.
    pub(crate) name: String,
    /// Number of times on the CPUs.
    pub(crate) count: u64,
    /// CPUs that may handle it (/proc/irq/N/smp_affinity_list).
    pub(crate) allowed: Option<Vec<usize>>,
}

/// A line of /proc/interrupts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct InterruptCount {
    label: String,
    name: String,
    counts: BTreeMap<usize, u64>,
}

impl Counters {
    /// The counters at this time.
    pub(crate) fn now() -> Self {
        let numbers = |folder: &str| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect::<Vec<i32>>()
        };
        let pids = numbers("/proc");
        let threads =
            pids.iter().flat_map(|pid| numbers(&format!("/proc/{pid}/task")).into_iter().map(|tid| (*pid, tid)));
        Self::of(&read_root, threads)
    }

    fn of(read: &ReadFile<'_>, threads: impl Iterator<Item = (i32, i32)>) -> Self {
        let cpu_ns = |(pid, tid): (i32, i32)| {
            let schedstat = read(&format!("proc/{pid}/task/{tid}/schedstat"))?;
            Some(((pid, tid), schedstat.split_whitespace().next()?.parse().ok()?))
        };
        Self {
            tasks: threads.filter_map(cpu_ns).collect(),
            interrupts: interrupts(&read("proc/interrupts").unwrap_or_default()),
        }
    }

    /// Who has run on these CPUs since, or may have.
    pub(crate) fn bystanders(&self, cpus: &[usize]) -> Bystanders {
        Self::now().since(self, cpus, &read_root, std::process::id().cast_signed())
    }

    fn since(&self, before: &Self, cpus: &[usize], read: &ReadFile<'_>, own_pid: i32) -> Bystanders {
        let mut tasks: BTreeMap<i32, (u64, Task)> = BTreeMap::new();
        for ((pid, tid), now) in self.tasks.iter().filter(|((pid, _), _)| *pid != own_pid) {
            // A thread that is new has used all of it since.
            let cpu_ns = now.saturating_sub(before.tasks.get(&(*pid, *tid)).copied().unwrap_or(0));
            let Some(task) = (cpu_ns > 0).then(|| task(read, *pid, *tid, cpu_ns)).flatten() else { continue };
            if !task.allowed.iter().any(|cpu| cpus.contains(cpu)) {
                continue;
            }
            let (busiest_ns, known) = tasks.entry(*pid).or_insert_with(|| (0, Task { cpu_ns: 0, ..task.clone() }));
            let sum = known.cpu_ns + cpu_ns;
            if cpu_ns > *busiest_ns {
                (*busiest_ns, *known) = (cpu_ns, task);
            }
            known.cpu_ns = sum;
        }
        let mut tasks: Vec<Task> = tasks.into_values().map(|(_, task)| task).collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.cpu_ns));
        let (mut devices, mut own_interrupts) = (Vec::new(), 0);
        for now in &self.interrupts {
            let then = before.interrupts.iter().find(|then| then.label == now.label);
            let count = now.on(cpus).saturating_sub(then.map_or(0, |then| then.on(cpus)));
            match now.label.parse() {
                Ok(number) if count > 0 => {
                    let allowed = read(&format!("proc/irq/{number}/smp_affinity_list"));
                    let allowed = allowed.and_then(|text| cpu_list(&text));
                    devices.push(Interrupt { number, name: now.name.clone(), count, allowed });
                }
                Ok(_) => {}
                Err(_) => own_interrupts += count,
            }
        }
        devices.sort_by_key(|interrupt| std::cmp::Reverse(interrupt.count));
        let sees_kernel = read("proc/2/comm").is_some_and(|name| name.trim() == "kthreadd");
        Bystanders { tasks, interrupts: devices, own_interrupts, sees_kernel }
    }
}

impl InterruptCount {
    fn on(&self, cpus: &[usize]) -> u64 {
        cpus.iter().filter_map(|cpu| self.counts.get(cpu)).sum()
    }
}

/// A thread that has used so much; `None` if it is gone.
fn task(read: &ReadFile<'_>, pid: i32, tid: i32, cpu_ns: u64) -> Option<Task> {
    let stat = Stat::from_read(read(&format!("proc/{pid}/task/{tid}/stat"))?.as_bytes()).ok()?;
    let status = Status::from_read(read(&format!("proc/{pid}/task/{tid}/status"))?.as_bytes()).ok()?;
    let ranges = status.cpus_allowed_list?;
    let allowed: CpuSet = ranges.into_iter().flat_map(|(first, last)| first as usize..=last as usize).collect();
    let flags = StatFlags::from_bits_truncate(stat.flags);
    // A worker's own name says what it last did; that of a program may be the name of one of its threads.
    let name = read(&format!("proc/{pid}/comm")).map_or(stat.comm, |name| name.trim().to_owned());
    let kind = match (flags.contains(StatFlags::PF_KTHREAD), flags.contains(StatFlags::PF_NO_SETAFFINITY)) {
        (false, _) => TaskKind::Program,
        (true, false) => TaskKind::Kernel,
        (true, true) if name.starts_with("kworker/u") => TaskKind::UnboundWorker,
        (true, true) => TaskKind::Bound,
    };
    let last_cpu = stat.processor.and_then(|cpu| usize::try_from(cpu).ok());
    Some(Task { pid, name, cpu_ns, allowed: allowed.into_iter().collect(), last_cpu, kind })
}

/// The lines of /proc/interrupts; its header names the CPUs, since those that are offline have no column.
fn interrupts(text: &str) -> Vec<InterruptCount> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default().split_whitespace();
    let cpus: Vec<usize> = header.filter_map(|name| name.strip_prefix("CPU")?.parse().ok()).collect();
    let line = |line: &str| {
        let (label, rest) = line.split_once(':')?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let counts = cpus.iter().copied().zip(words.iter().map_while(|word| word.parse().ok())).collect();
        let name = words.last().copied().unwrap_or_default().to_owned();
        Some(InterruptCount { label: label.trim().to_owned(), name, counts })
    };
    lines.filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERRUPTS: &str = "           CPU0       CPU2       CPU3
  36:          5        766          1  PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
  40:          9          0          0  IO-APIC   4-edge      ttyS0
 LOC:     300357     306613         10   Local timer interrupts
 ERR:          7
";

    /// A line of /proc/PID/stat with these flags, last run on CPU 2.
    fn stat(name: &str, flags: u32) -> String {
        let zeros = |count: usize| vec!["0"; count].join(" ");
        // Fields 10 to 38 and, after the processor, 40 to 52 (proc_pid_stat(5)).
        format!("7 ({name}) S 1 1 1 0 -1 {flags} {} 2 {}", zeros(29), zeros(13))
    }

    const KTHREAD: u32 = 0x0020_0000;
    const NO_SETAFFINITY: u32 = 0x0400_0000;

    /// Processes of one thread with name, flags, allowed CPUs, and CPU time before and after.
    const TASKS: [(i32, &str, u32, &str, u64, u64); 7] = [
        (2, "kthreadd", KTHREAD, "0-3", 5, 5),
        (7, "browser", 0, "0-3", 1_000, 9_000_000),
        (8, "elsewhere", 0, "0-1", 1_000, 9_000_000),
        (9, "kdamond.0", KTHREAD, "0-3", 0, 2_000_000),
        (10, "kworker/u8:1", KTHREAD | NO_SETAFFINITY, "0-3", 0, 30_000),
        (11, "ksoftirqd/2", KTHREAD | NO_SETAFFINITY, "2", 0, 40_000),
        (12, "loadgen", 0, "0-3", 0, 70_000_000),
    ];

    fn read(path: &str, is_later: bool) -> Option<String> {
        match path {
            "proc/interrupts" if is_later => return Some(INTERRUPTS.replace("766", "800").replace("306613", "306900")),
            "proc/interrupts" => return Some(INTERRUPTS.to_owned()),
            "proc/irq/36/smp_affinity_list" => return Some("0-3\n".to_owned()),
            _ => {}
        }
        let (pid, file) = (path.split('/').nth(1)?.parse::<i32>().ok()?, path.rsplit('/').next()?);
        let (_, name, flags, allowed, before, after) = TASKS.iter().find(|task| task.0 == pid)?;
        match file {
            "comm" => Some((*name).to_owned()),
            "stat" => Some(stat(name, *flags)),
            "schedstat" => Some(format!("{} 0 1", if is_later { after } else { before })),
            // The fields that a parser insists on.
            "status" => fs::read_to_string("/proc/self/status").ok().map(|text| {
                let others = text.lines().filter(|line| !line.starts_with("Cpus_allowed_list"));
                others.collect::<Vec<_>>().join("\n") + &format!("\nCpus_allowed_list:\t{allowed}\n")
            }),
            _ => None,
        }
    }

    fn found(cpus: &[usize]) -> Bystanders {
        let counters = |is_later| {
            let read = move |path: &str| read(path, is_later);
            Counters::of(&read, TASKS.iter().map(|task| (task.0, task.0)))
        };
        counters(true).since(&counters(false), cpus, &|path| read(path, true), 12)
    }

    #[test]
    fn who_used_time_and_may_run_there_is_found_the_most_first() {
        let found = found(&[2, 3]);
        let seen: Vec<_> = found.tasks.iter().map(|task| (task.pid, task.cpu_ns, task.kind)).collect();
        assert_eq!(
            seen,
            [
                (7, 8_999_000, TaskKind::Program),
                (9, 2_000_000, TaskKind::Kernel),
                (11, 40_000, TaskKind::Bound),
                (10, 30_000, TaskKind::UnboundWorker),
            ]
        );
        let browser = &found.tasks[0];
        assert_eq!(
            (&browser.name[..], &browser.allowed[..], browser.last_cpu),
            ("browser", &[0, 1, 2, 3][..], Some(2))
        );
        assert!(found.sees_kernel);
    }

    #[test]
    fn interrupts_are_counted_on_these_cpus_only() {
        let disk =
            Interrupt { number: 36, name: "virtio1-req.0".to_owned(), count: 34, allowed: Some(vec![0, 1, 2, 3]) };
        let on_two = found(&[2]);
        assert_eq!((on_two.interrupts, on_two.own_interrupts), (vec![disk], 287));
        let on_three = found(&[3]);
        assert_eq!((on_three.interrupts, on_three.own_interrupts), (vec![], 0));
    }

    #[test]
    fn a_container_that_hides_the_kernel_is_noticed_and_no_error() {
        let nothing = Counters { tasks: BTreeMap::new(), interrupts: Vec::new() };
        assert_eq!(nothing.since(&nothing.clone(), &[0], &|_| None, 1), Bystanders::default());
    }
}
